//! Commands between our answer and the ACK of a caller whose INVITE had no offer.

use protocol::CallTime;
use serde_json::json;
use testkit::terms::Manner;
use testkit::world::{Act, Opening, World};

#[test]
fn of_the_commands_that_wait_for_the_sound_those_beyond_64_are_refused() {
    let manner = Manner { offerless: true, ..Manner::default() };
    let mut world = World::new(Opening { sip: Some("pcmu".into()), manner, ..Opening::default() });
    world.plan(CallTime::ms(0), Act::Attach);
    world.plan(CallTime::ms(0), Act::Command(json!({"command": "accept", "option": {}}).to_string()));
    for number in 1..=66 {
        let verb = if number % 2 == 0 { "unhold" } else { "hold" };
        world.plan(CallTime::ms(10), Act::Command(json!({ "command": verb }).to_string()));
    }
    world.run(CallTime::ms(15));
    let told =
        |world: &World, part: &str| world.lines().iter().filter(|line| line.text.contains(part)).count();
    let refused = "64 commands wait for the far end to say what the sound is";
    assert_eq!(told(&world, &format!("409: hold: {refused}")), 1);
    assert_eq!(told(&world, &format!("409: unhold: {refused}")), 1);
    world.run(CallTime::ms(1_000));
    assert_eq!(told(&world, refused), 2);
    assert!(told(&world, "leg is offered") > 0, "those that waited are done: {:?}", world.lines());
}
