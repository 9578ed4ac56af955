//! What a message of a client must withstand, whoever sent it. Fuzzing runs this probe on what it invents, the tests on
//! what is kept in `fuzz/seeds`.

use protocol::Command;

/// Most characters of what is said of a wrong message, whatever the message is: the path, and what is expected there.
const MOST_SAID: usize = 2_000;
/// Most keys that are named.
const MOST_UNKNOWN: usize = 16;

/// A message of a WebSocket: it is read or refused, in words of a bounded length, and what was read is written so that it
/// is read again as the same.
pub(crate) fn command(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Command::parse(text) {
        Ok(read) => {
            assert!(read.unknown.len() <= MOST_UNKNOWN);
            let name = read.value.name();
            let written = serde_json::to_string(&read.value).unwrap();
            let again = Command::parse(&written);
            assert!(
                again.is_ok_and(|again| again.value.name() == name),
                "{name} is not read as it is written"
            );
        }
        Err(error) => assert!(error.to_string().chars().count() <= MOST_SAID, "{}", error.to_string().len()),
    }
}
