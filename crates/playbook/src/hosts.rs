//! Which hosts a model may have fetched.

/// Whether the address `url` is one of `hosts`: `api.example`, or `*.api.example` for every host below it. An empty
/// list allows every host; whether its address is a public one is for the one who fetches to see.
pub fn permits(hosts: &[String], url: &str) -> bool {
    let Some(host) = host_of(url) else { return false };
    let fits = |own: &String| match own.strip_prefix("*.") {
        Some(domain) => {
            host.strip_suffix(&domain.to_ascii_lowercase()).is_some_and(|head| head.ends_with('.'))
        }
        None => own.eq_ignore_ascii_case(&host),
    };
    hosts.is_empty() || hosts.iter().any(fits)
}

/// The host of an http or https address, in lower case. Addresses that readers of addresses take differently, with
/// white space or control characters in them, have none.
pub fn host_of(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let known = ["http", "https"].iter().any(|own| own.eq_ignore_ascii_case(scheme));
    if !known || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let place = authority.rsplit('@').next()?;
    let host = match place.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => place.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.trim_end_matches('.').to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tricks_with_addresses_do_not_reach_other_hosts() {
        let hosts = ["api.example".to_owned(), "*.shop.example".to_owned()];
        for good in ["https://api.example/x", "HTTP://API.example:8080/?a", "https://a.b.shop.example"] {
            assert!(permits(&hosts, good), "{good}");
        }
        for bad in [
            "https://evil.example/api.example",
            "https://api.example@evil.example/",
            "https://api.example.evil.example",
            "https://evilshop.example",
            "https://shop.example",
            "https://evil.example\\@api.example",
            "ftp://api.example",
            "https://api.exa mple",
            "https://",
            "api.example",
        ] {
            assert!(!permits(&hosts, bad), "{bad}");
        }
        assert!(permits(&[], "https://any.example") && !permits(&[], "file:///etc/passwd"));
    }
}
