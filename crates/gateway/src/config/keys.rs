//! Declares tables of the configuration with each key's default beside it.

/// A table: a struct that reads from TOML, its defaults, and the list of its keys.
macro_rules! table {
    ($(#[$meta:meta])* $name:ident { $($(#[$fmeta:meta])* $field:ident: $type:ty = $default:expr),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(default)]
        pub struct $name { $($(#[$fmeta])* pub $field: $type),+ }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default),+ }
            }
        }

        impl $name {
            /// Every key, as it is written in the file.
            pub const KEYS: &'static [&'static str] = &[$(stringify!($field)),+];
        }
    };
}
pub(crate) use table;
