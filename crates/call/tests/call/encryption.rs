//! Whose word counts when it is said in several places whether sound is encrypted: that of `refer` for its party, then
//! the call's, then the configuration's, else `false`.

use call::legs::LegId;
use call::setup::Rules;
use protocol::CallTime;
use protocol::option::Encryption;
use serde_json::{Value, json};
use testkit::terms::Manner;
use testkit::world::{Act, Opening, Party, World};

/// What a place says: nothing, `false`, `"optional"` or `true`.
type Said = Option<Encryption>;

const FALSE: Said = Some(Encryption::Answered);
const OPTIONAL: Said = Some(Encryption::Offered);
const TRUE: Said = Some(Encryption::Required);

/// An option with `sip.enableSrtp` as it is said, or without.
fn option(said: Said, mut option: Value) -> Value {
    if let Some(said) = said {
        option["sip"] = json!({ "enableSrtp": said });
    }
    option
}

fn world(configured: Said, opening: Opening) -> World {
    let mut rules = Rules::default();
    if let Some(configured) = configured {
        rules.encryption = configured;
    }
    World::new(Opening { rules, ..opening })
}

/// The end of the one line that begins so: how the description in it is encrypted.
fn offered(world: &World, begin: &str) -> String {
    let line = world.lines().iter().find(|line| line.text.starts_with(begin));
    let line = line.unwrap_or_else(|| panic!("nothing {begin} in {:?}", world.lines()));
    line.text.rsplit("sendrecv").next().unwrap().trim().to_owned()
}

/// The chain's word for a place whose own is `first`, with those behind it.
fn chain(said: [Said; 3]) -> Encryption {
    said.into_iter().flatten().next().unwrap_or_default()
}

fn described(encryption: Encryption) -> &'static str {
    match encryption {
        Encryption::Answered => "",
        Encryption::Offered => "with keys",
        Encryption::Required => "encrypted",
    }
}

const ALL: [Said; 4] = [None, FALSE, OPTIONAL, TRUE];

#[test]
fn what_a_call_of_ours_says_of_encryption_counts_before_what_the_configuration_says_and_refer_before_both() {
    for configured in ALL {
        for call in ALL {
            for refer in ALL {
                let case = format!("{configured:?} {call:?} {refer:?}");
                let manner = Manner { willing: true, ..Manner::default() };
                let encrypted = Manner { encrypted: true, ..Manner::default() };
                let manner =
                    if chain([call, configured, None]) == Encryption::Required { encrypted } else { manner };
                let opening = Opening { sip: Some("pcmu".into()), dials: true, manner, ..Opening::default() };
                let mut world = world(configured, opening);
                let invite = option(call, json!({"callee": "sip:1@example.com"}));
                let invite = json!({"command": "invite", "option": invite});
                let away = json!({"command": "refer", "caller": "", "callee": "sip:2@example.com",
                    "options": option(refer, json!({}))});
                world.plan(CallTime::ms(0), Act::Command(invite.to_string()));
                world.plan(CallTime::ms(1000), Act::Party(LegId::MAIN, Party::Answers));
                world.plan(CallTime::ms(2000), Act::Command(away.to_string()));
                world.run(CallTime::ms(3000));
                let own = described(chain([call, configured, None]));
                assert_eq!(offered(&world, "leg calls sip:1@"), own, "{case}");
                let second = described(chain([refer, call, configured]));
                assert_eq!(offered(&world, "leg 1 calls sip:2@"), second, "{case}");
            }
        }
    }
}

#[test]
fn what_is_said_where_a_call_is_accepted_counts_before_what_the_configuration_says() {
    for configured in ALL {
        for call in ALL {
            for encrypted in [false, true] {
                let case = format!("{configured:?} {call:?} {encrypted}");
                let manner = Manner { encrypted, ..Manner::default() };
                let opening = Opening { sip: Some("pcmu".into()), manner, ..Opening::default() };
                let mut world = world(configured, opening);
                let accept = json!({"command": "accept", "option": option(call, json!({}))});
                world.plan(CallTime::ms(0), Act::Attach);
                world.plan(CallTime::ms(100), Act::Command(accept.to_string()));
                world.run(CallTime::ms(1000));
                if chain([call, configured, None]) == Encryption::Required && !encrypted {
                    assert_eq!(offered(&world, "leg refuses"), "leg refuses 488", "{case}");
                } else {
                    let kind = if encrypted { "encrypted" } else { "" };
                    assert_eq!(offered(&world, "leg answers"), kind, "{case}");
                }
            }
        }
    }
}
