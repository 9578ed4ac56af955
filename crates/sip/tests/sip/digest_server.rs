//! The guard: nonces without memory, counts without copies.

use std::time::Duration;

use sip::{Claim, Guard, Verdict};

const LIFE: Duration = Duration::from_secs(60);

fn guard() -> Guard {
    Guard::new("us", [1; 32], LIFE)
}

fn password(user: &str) -> Option<secrecy::SecretString> {
    (user == "trunk").then(|| "secret".to_owned().into())
}

/// An INVITE to us with these lines.
fn claim(headers: &[(String, String)]) -> Claim<'_> {
    Claim { method: "INVITE", uri: "sip:us", headers }
}

fn judge(guard: &mut Guard, now: Duration, answer: &str) -> Verdict {
    guard.judge(now, &claim(&[("authorization".into(), answer.into())]), password)
}

/// The nonce of a fresh challenge, and whether it says that the last one was stale.
fn nonce(guard: &mut Guard, now: Duration) -> String {
    let Verdict::Challenge { code: 401, headers } = guard.judge(now, &claim(&[]), password) else { panic!() };
    let algorithms: Vec<bool> = headers.iter().map(|(_, v)| v.contains("algorithm=SHA-256")).collect();
    assert_eq!(algorithms, [true, false], "the stronger first");
    headers[0].1.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

fn answer(nonce: &str, (user, secret): (&str, &str), count: u32) -> String {
    use sipx_sip::auth::{Algorithm, Challenge, Credentials, respond};
    let challenge = Challenge {
        realm: "us".into(),
        nonce: nonce.into(),
        opaque: None,
        algorithm: Algorithm::Sha256,
        qop_auth: true,
        stale: false,
        from_proxy: false,
    };
    respond(&challenge, &Credentials::new(user, secret), "INVITE", "sip:us", count, "c")
}

const RIGHT: (&str, &str) = ("trunk", "secret");

fn is_stale(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Challenge { headers, .. } if headers[0].1.ends_with("stale=true"))
}

#[test]
fn the_right_password_is_let_in_once_for_each_count() {
    let mut guard = guard();
    let nonce = nonce(&mut guard, Duration::ZERO);
    let welcome = Verdict::Welcome { user: "trunk".into() };
    for count in [1, 3, 2, 200, 150] {
        let answer = answer(&nonce, RIGHT, count);
        assert_eq!(judge(&mut guard, LIFE, &answer), welcome, "{count}");
        assert!(is_stale(&judge(&mut guard, LIFE, &answer)), "a copy of {count}");
    }
    assert!(is_stale(&judge(&mut guard, LIFE, &answer(&nonce, RIGHT, 4))), "far behind");
}

#[test]
fn wrong_names_passwords_and_methods_are_refused() {
    let mut guard = guard();
    let nonce = nonce(&mut guard, Duration::ZERO);
    for login in [("trunk", "other"), ("nobody", "secret"), ("nobody", "")] {
        assert_eq!(judge(&mut guard, LIFE, &answer(&nonce, login, 1)), Verdict::Wrong);
    }
    let right = answer(&nonce, RIGHT, 1);
    let right = [("Authorization".to_owned(), right)];
    for (method, uri) in [("BYE", "sip:us"), ("INVITE", "sip:other@us"), ("INVITE", "tel:+49")] {
        let verdict = guard.judge(LIFE, &Claim { method, uri, headers: &right }, password);
        assert_eq!(verdict, Verdict::Wrong, "the answer is for {method} {uri} only");
    }
    let written_otherwise =
        Claim { method: "INVITE", uri: "sip:behind.example:5070;transport=udp", headers: &right };
    assert!(matches!(guard.judge(LIFE, &written_otherwise, password), Verdict::Welcome { .. }));
    let without_qop = answer(&nonce, RIGHT, 1).replace("qop=auth, nc=00000001, ", "");
    assert_eq!(judge(&mut guard, LIFE, &without_qop), Verdict::Wrong);
}

#[test]
fn old_and_foreign_nonces_are_stale() {
    let mut guard = guard();
    let old = nonce(&mut guard, Duration::ZERO);
    assert!(is_stale(&judge(&mut guard, LIFE + Duration::from_millis(1), &answer(&old, RIGHT, 1))));
    let mut other = Guard::new("us", [2; 32], LIFE);
    let foreign = nonce(&mut other, Duration::ZERO);
    assert!(is_stale(&judge(&mut guard, LIFE, &answer(&foreign, RIGHT, 1))));
    let later = Duration::from_secs(100);
    let future = nonce(&mut guard, later);
    assert!(is_stale(&judge(&mut guard, Duration::ZERO, &answer(&future, RIGHT, 1))));
}

#[test]
fn memory_is_bounded_and_forgetting_lets_no_copy_in() {
    let mut guard = guard();
    let first = nonce(&mut guard, Duration::ZERO);
    let first = answer(&first, RIGHT, 1);
    assert!(matches!(judge(&mut guard, Duration::ZERO, &first), Verdict::Welcome { .. }));
    for ms in 1..5_000 {
        let now = Duration::from_millis(ms);
        let fresh = nonce(&mut guard, now);
        assert!(matches!(judge(&mut guard, now, &answer(&fresh, RIGHT, 1)), Verdict::Welcome { .. }));
    }
    assert!(is_stale(&judge(&mut guard, Duration::from_millis(5_000), &first)));
}
