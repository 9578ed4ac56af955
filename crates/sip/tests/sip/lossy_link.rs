//! Calls over a link that loses a third of everything: whatever is lost, no ghost stays.

use std::time::Duration;

use crate::world::{CALLEE, CALLER, SDP, World};

/// A repeatable sequence of small numbers.
fn dice(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 33
    }
}

#[test]
fn every_call_ends_on_both_sides_whatever_is_lost() {
    for seed in 0..200 {
        let mut roll = dice(seed);
        let mut world = World::losing(move |_, _| roll().is_multiple_of(3));
        let mut roll = dice(seed + 1_000);
        let caller = world.call();
        world.run(Duration::from_millis(roll() % 3_000));
        // Verbs meet whatever state the losses have led to; an error is as good as a success.
        if world.events[CALLEE].iter().any(|e| matches!(e, sip::SipEvent::Invited { .. })) {
            let callee = world.invited();
            if roll().is_multiple_of(2) {
                let _ = world.ends[CALLEE].ring(world.now, callee, None);
                world.run(Duration::from_millis(roll() % 1_000));
            }
            let _ = match roll() % 4 {
                0 => world.ends[CALLEE].hangup(world.now, callee, &[]),
                _ => world.ends[CALLEE].answer(world.now, callee, SDP, &[]).map(drop),
            };
        }
        world.run(Duration::from_millis(roll() % 2_000));
        let _ = world.ends[CALLER].hangup(world.now, caller, &[]);
        if roll().is_multiple_of(2) {
            world.run(Duration::from_millis(roll() % 100));
            for dialog in world.ends[CALLEE].dialogs().collect::<Vec<_>>() {
                let _ = world.ends[CALLEE].hangup(world.now, dialog, &[]);
            }
        }
        world.run(Duration::from_secs(400));
        assert_eq!(world.dialogs(), (0, 0), "seed {seed}: {:#?}", world.ladder());
        for side in [CALLER, CALLEE] {
            let mut dialogs: Vec<_> = world.events[side].iter().map(sip::SipEvent::dialog).collect();
            dialogs.dedup();
            for dialog in dialogs {
                let of: Vec<_> = world.events[side].iter().filter(|e| e.dialog() == dialog).collect();
                let ends = of.iter().filter(|e| e.is_last()).count();
                assert!(ends == 1 && of.last().unwrap().is_last(), "seed {seed}: {:?}", world.story(side));
            }
            assert_eq!(world.ends[side].counters().transactions, 0, "seed {seed}");
        }
    }
}
