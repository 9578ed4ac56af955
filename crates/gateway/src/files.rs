//! Names of files that come from outside: confined to their folders, symbolic links included.

use std::path::{Component, Path, PathBuf};

use crate::inbound::{PathError, relative};

/// Longest name made of a call's id; with a suffix it stays below the 255 bytes of a file system.
const MAX_STEM: usize = 150;

/// The existing file under `folder` that `name` means.
///
/// # Errors
/// [`PathError`] when the name leads out of the folder, through `..`, an absolute path or a symbolic link, or
/// to nothing.
pub fn find_in(folder: &Path, name: &str) -> Result<PathBuf, PathError> {
    confined(folder, &folder.join(relative(folder, name)?), name)
}

/// The existing file under one of `roots` that `name` means. An absolute name is good when it lies under one.
///
/// # Errors
/// As [`find_in`], of the first root; of the root that an absolute name lies under.
pub fn find_under(roots: &[PathBuf], name: &str) -> Result<PathBuf, PathError> {
    let absolute = Path::new(name).is_absolute() && !name.contains('\0');
    let mut told = None;
    for root in roots {
        let found = if absolute { confined(root, Path::new(name), name) } else { find_in(root, name) };
        let error = match found {
            Ok(path) => return Ok(path),
            Err(error) => error,
        };
        // It lies under one root and thereby outside of all others.
        let tells_more = absolute && matches!(error, PathError::Missing(_));
        if told.is_none() || tells_more {
            told = Some(error);
        }
    }
    Err(told.unwrap_or_else(|| PathError::Missing(protocol::read::shown(name))))
}

fn confined(folder: &Path, path: &Path, name: &str) -> Result<PathBuf, PathError> {
    let missing = || PathError::Missing(protocol::read::shown(name));
    let outside = || PathError::Outside(protocol::read::shown(name));
    let real_folder = folder.canonicalize().map_err(|_| missing())?;
    // What is or is not there outside of the folder is not told.
    let rest = path.strip_prefix(folder).or_else(|_| path.strip_prefix(&real_folder));
    let within = rest.is_ok_and(|rest| rest.components().all(|step| step != Component::ParentDir));
    let real = path.canonicalize().map_err(|_| if within { missing() } else { outside() })?;
    if !real.starts_with(&real_folder) {
        return Err(outside());
    }
    if real.is_file() { Ok(real) } else { Err(missing()) }
}

/// Where a new file called `name` may be made under `folder`, with the folders between made too.
///
/// # Errors
/// A text that says why not: the name leads out of the folder, or a folder cannot be made.
pub fn place_for(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let path = folder.join(relative(folder, name).map_err(|e| e.to_string())?);
    let parent = path.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).map_err(|e| format!("{}: {e}", parent.display()))?;
    let inside = match (folder.canonicalize(), parent.canonicalize()) {
        (Ok(folder), Ok(parent)) => parent.starts_with(folder),
        _ => false,
    };
    let link = path.symlink_metadata().is_ok_and(|meta| meta.file_type().is_symlink());
    if inside && !link { Ok(path) } else { Err(PathError::Outside(protocol::read::shown(name)).to_string()) }
}

/// Whether files can be made in `folder`, or in the nearest folder above it that is there: tried with a file that is
/// removed at once, since permissions alone do not tell it.
///
/// # Errors
/// Those of making the file.
pub(crate) fn can_be_written(folder: &Path) -> std::io::Result<()> {
    let there = folder.ancestors().find(|path| path.as_os_str().is_empty() || path.exists());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let probe = there.join(format!(".active-call-{:016x}", rand::random::<u64>()));
    std::fs::OpenOptions::new().write(true).create_new(true).open(&probe)?;
    std::fs::remove_file(&probe)
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file name for the call `id`. An id that a phone made may hold anything; what is replaced or cut is made
/// up for by a checksum, so that two calls never share a file.
pub fn stem(id: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+' | '=');
    let mut stem: String = id.chars().map(|c| if plain(c) { c } else { '_' }).take(MAX_STEM).collect();
    if stem.starts_with('.') || stem.is_empty() {
        stem.insert(0, '_');
    }
    if stem != id {
        stem.push_str(&format!("-{:016x}", checksum(id)));
    }
    stem
}

/// FNV-1a: short, stable over versions, and nobody gains by a collision but a mixed-up file name of their own.
fn checksum(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Writes `bytes` to `path` so that a reader sees all of them or nothing.
///
/// # Errors
/// Those of the file system; the half-written file is removed.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let write = || std::fs::write(&part, bytes);
    let begun = match (write(), path.parent()) {
        (Err(error), Some(parent)) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(parent)?;
            write()
        }
        (begun, _) => begun,
    };
    let written = begun.and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        // The first error is the one to tell; a left-over is overwritten by the next try.
        let _ = std::fs::remove_file(&part);
    }
    written
}

/// Like [`write_whole`], readable by its owner alone.
///
/// # Errors
/// Those of the file system; the half-written file is removed.
pub fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let mut options = std::fs::OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&part);
    let written =
        opened.and_then(|mut file| file.write_all(bytes)).and_then(|()| std::fs::rename(&part, path));
    if written.is_err() {
        // The first error is the one to tell; a left-over is overwritten by the next try.
        let _ = std::fs::remove_file(&part);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_harmless_id_is_its_own_name_and_others_stay_apart() {
        assert_eq!(stem("s.3f1c-77"), "s.3f1c-77");
        assert_ne!(stem("a/b"), stem("a:b"));
        for id in ["../../etc/passwd", "", ".", "..", "a\0b", "a\r\nb", &"x".repeat(4000)] {
            let stem = stem(id);
            assert!(!stem.contains(['/', '\0', '\r', '\n']) && !stem.starts_with('.'), "{stem}");
            assert!((1..=200).contains(&stem.len()));
        }
    }

    #[test]
    fn a_symbolic_link_does_not_lead_out_of_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(folder.path().join("secret.wav"), "x").unwrap();
        std::fs::write(root.join("good.wav"), "x").unwrap();
        std::os::unix::fs::symlink(folder.path().join("secret.wav"), root.join("bad.wav")).unwrap();
        std::os::unix::fs::symlink(folder.path(), root.join("up")).unwrap();
        assert!(find_in(&root, "good.wav").is_ok());
        let roots = [root.clone()];
        assert!(find_under(&roots, root.join("good.wav").to_str().unwrap()).is_ok());
        for name in ["bad.wav", "up/secret.wav", "/etc/passwd", "nothing.wav"] {
            assert!(find_under(&roots, name).is_err(), "{name}");
        }
        for outside in ["bad.wav", "up/secret.wav", "/etc/passwd", "/etc/nothing", "../nothing.wav"] {
            assert!(matches!(find_under(&roots, outside), Err(PathError::Outside(_))), "{outside}");
        }
        let missing = root.join("nothing.wav");
        let other = folder.path().join("other");
        std::fs::create_dir_all(&other).unwrap();
        std::fs::create_dir(root.join("folder")).unwrap();
        let nested = root.join("folder");
        for roots in [&roots[..], &[other, root.clone()]] {
            for missing in [
                "nothing.wav",
                missing.to_str().unwrap(),
                "folder",
                nested.to_str().unwrap(),
                ".",
                "./folder/",
            ] {
                assert!(matches!(find_under(roots, missing), Err(PathError::Missing(_))), "{missing}");
            }
            assert!(matches!(find_under(roots, "/etc/nothing"), Err(PathError::Outside(_))));
        }
        assert!(place_for(&root, "sub/new.wav").is_ok());
        for name in ["up/new.wav", "bad.wav", "../new.wav", "/tmp/new.wav"] {
            assert!(place_for(&root, name).is_err(), "{name}");
        }
    }
}
