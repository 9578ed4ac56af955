//! Calls over a link that loses a third of everything: whatever is lost, no ghost stays.

use std::time::Duration;

use sip::{DialogId, InDialog, InDialogMethod, SipEvent};

use crate::world::{CALLEE, CALLER, SDP, Side, World};

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

fn key(n: usize) -> char {
    char::from(b"1234567890*#ABCD"[n / 2 % 16])
}

/// The digits that a side was told of, and how often its own were answered.
fn told(world: &World, side: Side) -> (String, usize) {
    let digits = world.events[side].iter().filter_map(|event| match event {
        SipEvent::Info { content_type, body, .. } => Some(sip::info_digit(content_type, body)?.0),
        _ => None,
    });
    let answered = |event: &&SipEvent| matches!(event, SipEvent::Responded { code: 200, .. });
    (digits.collect(), world.events[side].iter().filter(answered).count())
}

/// Sends a digit, by turns with both kinds of body.
fn press(world: &mut World, side: Side, dialog: DialogId, n: usize) {
    let (content_type, body) = match n % 3 {
        0 => ("application/dtmf", key(n).to_string()),
        _ => ("application/dtmf-relay", sip::dtmf_relay(key(n), Duration::from_millis(100))),
    };
    let (content_type, body) = (content_type.to_owned(), body.into_bytes());
    let info = InDialog { method: InDialogMethod::Info, content_type, body, headers: Vec::new() };
    world.ends[side].request_inside(world.now, dialog, &info).unwrap();
    world.drain();
}

#[test]
fn a_hundred_digits_by_info_arrive_once_each_and_in_order_at_5_percent_loss_both_ways() {
    for seed in 0..20 {
        let mut roll = dice(seed);
        let mut world = World::losing(move |_, text| text.contains(" INFO\r\n") && roll() % 100 < 5);
        let (caller, callee) = world.answered_call();
        let mut sent = [0; 2];
        for _ in 0..20_000 {
            for (side, dialog) in [(CALLER, caller), (CALLEE, callee)] {
                if sent[side] < 100 && told(&world, side).1 == sent[side] {
                    press(&mut world, side, dialog, sent[side]);
                    sent[side] += 1;
                }
            }
            world.run(Duration::from_millis(20));
            if [CALLER, CALLEE].iter().all(|side| told(&world, *side).1 == 100) {
                break;
            }
        }
        // What is under way twice has time to come.
        world.run(Duration::from_secs(40));
        let keys: String = (0..100).map(key).collect();
        for side in [CALLER, CALLEE] {
            assert_eq!(told(&world, side), (keys.clone(), 100), "seed {seed}");
            assert!(world.sent_ms(side, "INFO ").len() > 100, "seed {seed}: nothing was lost");
        }
    }
}
