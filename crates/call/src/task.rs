//! The task of a call: joins rules, sound, legs and providers. Every branch makes one input for the rules and
//! then carries out what they want; nothing here decides anything.

mod complaints;
mod flow;
mod providers_of;
mod taping;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use protocol::event::{Event, TransferState};
use protocol::option::{Over, RealtimeOption};
use protocol::reason::Particulars;
use protocol::record::{CallRecord, Recording};
use protocol::rest::CallKind;
use protocol::{CallTime, HangupReason, redact};
use rtp::sdp::{KeyRing, RING_BYTES};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::Instrument;

use crate::core::clock::Clock;
use crate::core::{Background, Core, Effect, Facts, Input};
use crate::end::StopReason;
use crate::handle::{COMMANDS, CallHandle, CallInfo, Client, Phase, ToCall};
use crate::legs::{Asked, Failed, Leg, LegError, LegEvent, LegId, LegRequest, TransferOut};
use crate::media::order::{DoorId, FromMedia, ToMedia};
use crate::media_thread::{EVENTS, Order, Seat, SeatId, Wire};
use crate::observers::Observers;
use crate::setup::{EventLog, Line, Services, Setup, Tape, Undialled};
use complaints::Complaints;
use flow::voice_of;
use providers_of::Running;
use taping::torn;

/// How long it is waited for whether there is an event log: it is written from its first line on.
const LOG_BEGUN: Duration = Duration::from_secs(1);
/// How long the end of a recording is waited for before the record goes without its size.
const TAPE_END: Duration = Duration::from_secs(10);
/// Inputs of providers waiting for the rules. When full the provider waits.
const INPUTS: usize = 64;
/// Lines that were opened and wait for the call. When full the one that opens them waits.
const LINES: usize = 4;
/// When it is looked again whether the client has taken some. Nothing tells: a place that was waited for would be kept
/// from the events.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// Starts a call. It ends by itself; the handle is the only way to reach it.
#[expect(clippy::disallowed_methods, reason = "a call is a task; it owns itself and ends with its call")]
pub fn spawn(setup: Setup, services: &Services) -> CallHandle {
    let (orders, inbox) = mpsc::channel(COMMANDS);
    let (info, shown) = watch::channel(CallInfo::default());
    let handle = CallHandle::new(setup.id.clone(), setup.kind, orders, shown);
    // Lines outside of this task name a call in the same way, so that one search finds them all.
    let span = tracing::info_span!("call", call = ?setup.id);
    // Boxed once: a future that holds the task by value has room for it twice, for the whole call.
    let task = Box::new(Task::new(setup, services.clone(), inbox, info));
    tokio::spawn(task.run().instrument(span));
    handle
}

/// A line that was asked for. Boxed, for a channel has room for many.
type Dialled = (LegId, Box<Result<Line, Undialled>>);

struct Task {
    core: Core,
    kind: CallKind,
    id: String,
    services: Services,
    clock: Clock,
    started: Instant,
    leg: Box<dyn Leg>,
    /// Legs beside the first.
    others: Vec<(LegId, Box<dyn Leg>)>,
    lines: mpsc::Receiver<Dialled>,
    to_lines: mpsc::Sender<Dialled>,
    /// The connection, until the call is seated.
    wire: Option<Wire>,
    seat: Option<(SeatId, mpsc::Sender<Order>)>,
    from_media: mpsc::Receiver<FromMedia>,
    /// The media thread's end, until the call is seated: then only the thread holds it, and its end is heard.
    to_task: Option<mpsc::Sender<FromMedia>>,
    inbox: mpsc::Receiver<ToCall>,
    info: watch::Sender<CallInfo>,
    client: Option<Client>,
    observers: Observers,
    log: Option<EventLog>,
    lost_lines: u64,
    /// Complaints that the log has.
    complaints: Complaints,
    running: Running,
    inputs: mpsc::Receiver<Input>,
    tape: Option<Tape>,
    /// Recordings that were ended and are being closed.
    closing: Vec<oneshot::Receiver<Recording>>,
    /// Recordings that ended before the call.
    written: Vec<Recording>,
    over: Option<Box<CallRecord>>,
}

impl Task {
    fn new(
        setup: Setup,
        services: Services,
        inbox: mpsc::Receiver<ToCall>,
        info: watch::Sender<CallInfo>,
    ) -> Self {
        let Setup { id, kind, leg, wire, sip, playbook, client, log, defaults, .. } = setup;
        let clock = Clock { began_unix_ms: unix_ms() };
        let facts = Facts {
            id: id.clone(),
            reference: if sip.is_some() { format!("{:016x}", rand::random::<u64>()) } else { id.clone() },
            kind,
            caller: setup.caller,
            callee: setup.callee,
            clock,
            rules: setup.rules,
            vars: setup.vars,
            random: rand::random(),
            dump: log.as_ref().map(|log| log.path.clone()),
        };
        let option = match &playbook {
            Some(playbook) => playbook.option().over(&defaults),
            None => defaults,
        };
        let (to_task, from_media) = mpsc::channel(EVENTS);
        let (input, inputs) = mpsc::channel(INPUTS);
        let (to_lines, lines) = mpsc::channel(LINES);
        Task {
            core: Core::new(facts, option, sip, playbook),
            kind,
            id,
            running: Running::new(input, services.providers.clone(), services.library.clone()),
            services,
            clock,
            started: now(),
            leg,
            others: Vec::new(),
            lines,
            to_lines,
            wire: Some(wire),
            seat: None,
            from_media,
            to_task: Some(to_task),
            inbox,
            info,
            client,
            observers: Observers::default(),
            log,
            lost_lines: 0,
            complaints: Complaints::default(),
            inputs,
            tape: None,
            closing: Vec::new(),
            written: Vec::new(),
            over: None,
        }
    }

    /// Lives through the call; an error inside ends this call, with a record, and nothing else.
    async fn run(mut self: Box<Self>) {
        tracing::info!(kind = self.kind.as_str(), "call begins");
        if AssertUnwindSafe(self.live()).catch_unwind().await.is_err() {
            tracing::error!("internal error: the call ends");
            self.services.told.panicked();
            self.core.break_off(self.time());
            while let Some(effect) = self.core.poll() {
                if matches!(
                    effect,
                    Effect::Request(..) | Effect::Emit(_) | Effect::Report(_) | Effect::Finish(_)
                ) {
                    Box::pin(self.carry_out(effect)).await;
                }
            }
        }
        // What the end needs is large, and comes once.
        Box::pin(self.close()).await;
    }

    async fn live(&mut self) {
        self.feed(Input::Begin).await;
        if self.client.is_some() {
            self.feed(Input::Attached).await;
        }
        while self.over.is_none() {
            let input = self.next().await;
            for input in input {
                self.feed(input).await;
            }
        }
    }

    /// Waits for the next thing to happen. What ends a call comes before what feeds it.
    async fn next(&mut self) -> Vec<Input> {
        let deadline = self.core.timeout().and_then(|at| self.started.checked_add(at.0));
        // Commands are taken no faster than the client takes the events that they cause, so that a rush of them does not
        // make it too slow; half of its queue is kept for what happens by itself.
        let keeps_up = |client: &Client| {
            client.events.is_closed() || client.events.capacity() * 2 >= client.events.max_capacity()
        };
        let ready = self.client.as_ref().is_none_or(keeps_up);
        tokio::select! {
            biased;
            event = self.leg.next() => vec![Input::Leg(LegId::MAIN, event)],
            (leg, event) = next_of(&mut self.others) => vec![Input::Leg(leg, event)],
            // The thread lets go of a call whose sound has failed.
            event = self.from_media.recv() => vec![Input::Media(event.unwrap_or(FromMedia::Gone))],
            order = self.inbox.recv(), if ready && (!self.inbox.is_closed() || !self.inbox.is_empty()) => self.order(order).await,
            Some(input) = self.inputs.recv() => vec![input],
            Some((leg, line)) = self.lines.recv() => vec![self.join(leg, *line).await],
            written = torn(&mut self.tape) => vec![self.tape_torn(written)],
            () = until(deadline) => vec![Input::Timeout],
            () = until(now().checked_add(LOOK_AGAIN)), if !ready => Vec::new(),
        }
    }

    async fn order(&mut self, order: Option<ToCall>) -> Vec<Input> {
        match order {
            Some(ToCall::Command(command)) => {
                self.log_line("command", &*command);
                let Some(name) = command.playbook() else { return vec![Input::Command(*command)] };
                match self.services.playbooks.find(name).await {
                    Ok(found) => vec![Input::Playbook(Ok(found)), Input::Command(*command)],
                    // A call must not be answered by a playbook that is not there.
                    Err(why) => vec![Input::Playbook(Err(why))],
                }
            }
            Some(ToCall::Refused(sender, failure)) => vec![Input::Refused(sender, failure)],
            Some(ToCall::UnknownKey(key)) => vec![Input::UnknownKey(key)],
            Some(ToCall::Attach(client)) => {
                self.client = Some(client);
                vec![Input::Attached]
            }
            Some(ToCall::Observe(observer)) => {
                self.observers.admit(observer);
                Vec::new()
            }
            Some(ToCall::Stop(reason)) => vec![Input::Stop(reason)],
            // Nobody can reach the call any more; only its far end can end it, and it goes on for that.
            None => Vec::new(),
        }
    }

    /// Gives the rules one input and carries out what they want.
    async fn feed(&mut self, input: Input) {
        let voice = voice_of(&input);
        let mut inputs = std::collections::VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let time = self.time();
            self.core.handle(time, input);
            while let Some(effect) = self.core.poll() {
                inputs.extend(self.carry_out(effect).await);
            }
        }
        voice.into_iter().for_each(|voice| self.running.taken(voice));
        if let Some(info) = self.core.info() {
            self.info.send_modify(|shown| {
                let recordings = std::mem::take(&mut shown.recordings);
                // `Over` is shown when the record is handed over, in `close`.
                let phase = if info.phase == Phase::Over { shown.phase } else { info.phase };
                *shown = CallInfo { recordings, phase, ..info };
            });
        }
    }

    async fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Request(leg, request) => return self.request(leg, request).await,
            Effect::Seat(rate) => return self.sit(rate).await,
            Effect::Media(order) => self.tell_media(order).await,
            Effect::Listen { leg, door, option } => {
                let heard = self.running.listen(door, &option);
                return match heard {
                    Ok((rate, hearing)) => {
                        self.tell_thread(|seat| Order::Door(seat, door, hearing)).await;
                        self.tell_media(ToMedia::Listen(leg, door, rate)).await;
                        None
                    }
                    Err(broken) => Some(Input::Unheard(door, Err(broken))),
                };
            }
            Effect::OpenModel(door, option) => return self.open_model(door, &option).await,
            Effect::ToModel(input) => self.running.tell_model(input),
            Effect::CloseModel(door) => self.running.close_model(door),
            Effect::Unlisten(door) => self.running.unlisten(door),
            Effect::OpenVoice(voice, option) => {
                return self
                    .running
                    .open_voice(voice, &option)
                    .err()
                    .map(|failure| Input::Silent(voice, Err(failure)));
            }
            Effect::Speak(voice, piece, text) => self.running.speak(voice, piece, text),
            Effect::CloseVoice(voice) => self.running.close_voice(voice),
            Effect::OpenFile(voice, url) => self.running.open_file(voice, url),
            Effect::DropVoice(voice) => self.running.drop_voice(voice),
            Effect::Flow(voice, on) => self.running.flow(voice, on),
            Effect::Ask(option, ask) => {
                let turn = ask.turn;
                let failed = |error| Input::Model(turn, protocol::chat::ModelOutput::Failed { error });
                return self.running.ask(&option, ask).err().map(failed);
            }
            Effect::Abandon(turn) => self.running.abandon(turn),
            Effect::Fetch(id, request) => self.running.fetch(id, request, Arc::clone(&self.services.fetcher)),
            Effect::CancelFetch(id) => self.running.cancel_fetch(id),
            Effect::ListTools(server) => self.running.list_tools(server, Arc::clone(&self.services.tools)),
            Effect::CallTool(call) => self.running.call_tool(*call, Arc::clone(&self.services.tools)),
            Effect::Dial(leg, dial) => {
                let dialer = Arc::clone(&self.services.dialer);
                self.running.dial(leg, *dial, dialer, self.to_lines.clone());
            }
            Effect::Adopt(from, leg) => return self.adopt(from, leg).await,
            Effect::Exchange(leg, place) => self.exchange(leg, place).await,
            Effect::Drop(leg) => {
                self.others.retain(|(id, _)| *id != leg);
                self.tell_thread(|seat| Order::Unwire(seat, leg)).await;
            }
            Effect::Emit(event) => self.emit(event),
            Effect::Ambience(path, rate, ducking) => {
                let order = move |sound| ToMedia::Ambience(rate, sound, ducking);
                self.load(path, rate, order, Background::Ambience);
            }
            Effect::Music(number, path, rate) => {
                let order = move |sound| ToMedia::Music(number, sound);
                self.load(path, rate, order, Background::Music(number));
            }
            Effect::MediaPass(voice, door, pass) => {
                let (rate, frames) = (pass.output_hz, pass.packet_frames());
                let heard = self.running.media_pass(voice, *pass, Arc::clone(&self.services.passes));
                self.tell_thread(|seat| Order::Door(seat, door, heard)).await;
                self.tell_media(ToMedia::Pass { door, rate, frames }).await;
            }
            Effect::Subscribe => self.subscribe().await,
            Effect::Record(rate, option) => return Some(self.record(rate, &option).await),
            Effect::EndRecord => self.end_record().await,
            Effect::Report(report) => {
                if self.services.reports.send(*report).await.is_err() {
                    tracing::error!("no one takes reports of calls");
                }
            }
            Effect::Finish(record) => self.over = Some(record),
        }
        None
    }

    /// Loads a sound for the call's media.
    fn load(
        &mut self,
        path: String,
        rate: u32,
        order: impl FnOnce(Box<[i16]>) -> ToMedia + Send + 'static,
        which: Background,
    ) {
        let Some((seat, orders)) = self.seat.clone() else { return };
        let play = move |sound| Order::Media(seat, order(sound));
        self.running.load_background(path, rate, (orders, play), which);
    }

    /// Connects a speech-to-speech model, and lets it hear.
    async fn open_model(&mut self, door: DoorId, option: &RealtimeOption) -> Option<Input> {
        match self.running.open_model(door, option) {
            Ok((rate, hearing)) => {
                self.tell_thread(|seat| Order::Door(seat, door, hearing)).await;
                self.tell_media(ToMedia::Listen(LegId::MAIN, door, rate)).await;
                None
            }
            Err(broken) => Some(Input::ModelEnded(door, Err(broken))),
        }
    }

    /// Takes in a line that was opened for a party to be dialled.
    async fn join(&mut self, leg: LegId, line: Result<Line, Undialled>) -> Input {
        let line = match line {
            Ok(line) => line,
            Err(why) => return Input::Line(leg, Err(why)),
        };
        if leg == LegId::MAIN {
            self.leg = line.leg;
            self.wire = Some(line.wire);
        } else {
            self.others.push((leg, line.leg));
            self.tell_thread(|seat| Order::Wire(seat, leg, line.wire)).await;
        }
        Input::Line(leg, Ok(Box::new(line.media)))
    }

    /// Gives the client the sound of both sides.
    async fn subscribe(&mut self) {
        if let Some(outbound) = self.client.as_ref().and_then(|client| client.sound.clone()) {
            // A client that only listens says nothing.
            let (_, inbound) = mpsc::channel(1);
            let wire = Wire::Socket { inbound, outbound };
            self.tell_thread(|seat| Order::Wire(seat, LegId::OBSERVER, wire)).await;
        }
    }

    /// Lets `leg` and the one that is in `place` change places.
    async fn exchange(&mut self, leg: LegId, place: LegId) {
        if let Some((_, other)) =
            self.others.iter_mut().find(|(id, _)| *id == leg).filter(|_| place == LegId::MAIN)
        {
            std::mem::swap(&mut self.leg, other);
        }
        for (id, _) in self.others.iter_mut().filter(|_| place != LegId::MAIN) {
            *id = id.swapped(leg, place);
        }
        self.tell_thread(|seat| Order::Exchange(seat, leg, place)).await;
    }

    /// Takes in the leg of who takes the place of `from`.
    async fn adopt(&mut self, from: LegId, leg: LegId) -> Option<Input> {
        let successor = match self.others.iter_mut().find(|(id, _)| *id == from) {
            Some((_, other)) => other.successor().await,
            None => self.leg.successor().await,
        };
        let keys = successor.is_some().then(|| {
            let mut random = [0; RING_BYTES];
            rand::fill(&mut random);
            Box::new(KeyRing::of_all(&random))
        });
        self.others.extend(successor.map(|successor| (leg, successor)));
        Some(Input::Adopted(leg, keys))
    }

    /// Names the dialog that a transfer is about, or says why nobody may be sent to its target.
    fn prepare(&self, transfer: &mut TransferOut) -> Option<Input> {
        transfer.dialog = transfer.with.and_then(|with| {
            let (_, other) = self.others.iter().find(|(id, _)| *id == with)?;
            other.dialog()
        });
        let Undialled { code, reason } = self.services.dialer.permits(&transfer.to).err()?;
        let (state, particulars) = (TransferState::Failed, Particulars::default());
        let event = LegEvent::Transferred { state, code, reason, particulars };
        Some(Input::Leg(LegId::MAIN, event))
    }

    async fn request(&mut self, leg: LegId, mut request: LegRequest) -> Option<Input> {
        if let LegRequest::Transfer(transfer) = &mut request
            && let Some(refused) = self.prepare(transfer)
        {
            return Some(refused);
        }
        let transfers = matches!(request, LegRequest::Transfer(_));
        let answers = matches!(request, LegRequest::Answer { .. });
        let invites = matches!(request, LegRequest::Invite(_));
        let offers = matches!(request, LegRequest::Offer { .. });
        let asked = match self.others.iter_mut().find(|(id, _)| *id == leg) {
            Some((_, other)) => other.request(request).await,
            None if leg == LegId::MAIN => self.leg.request(request).await,
            None => return None,
        };
        let error = match asked {
            Ok(done) => return (answers && done == Asked::Done).then_some(Input::AnswerSent(leg)),
            Err(error) => error,
        };
        let failed = match (answers, &error) {
            (_, LegError::Unsendable(what, _)) => Failed::Unsendable(*what),
            _ if invites => Failed::Invite,
            _ if transfers => Failed::Transfer,
            (_, LegError::Refused(_)) if offers => Failed::Offer,
            (true, LegError::Gone) => Failed::Gone,
            (true, LegError::Refused(_)) => Failed::Answer,
            // What was asked of a leg that has just ended is answered by its last event.
            (false, LegError::Gone) => return None,
            (false, LegError::Refused(_)) => Failed::Other,
        };
        Some(Input::LegFailed(leg, failed, error.to_string()))
    }

    /// Takes a seat on a media thread.
    async fn sit(&mut self, rate: u32) -> Option<Input> {
        let events = self.to_task.take()?;
        let (id, orders) = self.services.media.place();
        let wire = self.wire.take().unwrap_or(Wire::None);
        let seat = Seat::new(id, rate, (LegId::MAIN, wire), events, self.started);
        let seated = orders.send(Order::Seat(Box::new(seat))).await;
        self.seat = Some((id, orders));
        // A thread that is gone takes nobody.
        seated.err().map(|_| Input::Media(FromMedia::Gone))
    }

    async fn tell_media(&mut self, order: ToMedia) {
        self.tell_thread(|seat| Order::Media(seat, order)).await;
    }

    async fn tell_thread(&mut self, order: impl FnOnce(SeatId) -> Order) {
        if let Some((seat, orders)) = &self.seat {
            let _ = orders.send(order(*seat)).await;
        }
    }

    /// Tells the log, observers and the client. A client that does not read is dropped, and the call ends by
    /// its rule; a log that does not keep up loses lines.
    fn emit(&mut self, event: Event) {
        self.log_line("event", &event);
        self.complaints.note(&event);
        self.services.told.note(&event);
        self.observers.tell(&event);
        let Some(client) = &self.client else { return };
        if let Err(error) = client.events.try_send(event) {
            if matches!(error, mpsc::error::TrySendError::Full(_)) {
                tracing::warn!("client reads its events too slowly and is dropped");
            }
            self.client = None;
            let _ = self.running.input().try_send(Input::Stop(StopReason::ClientGone));
        }
    }

    /// Time since the call began.
    fn time(&self) -> CallTime {
        CallTime(now().saturating_duration_since(self.started))
    }

    fn log_line(&mut self, kind: &str, content: &impl serde::Serialize) {
        let Some(log) = &self.log else { return };
        let content = redact::message(content).to_string();
        let line = self.clock.line(self.time(), kind, content);
        if log.lines.try_send(line).is_err() {
            self.lost_lines += 1;
        }
    }

    /// The call is over: its sound leaves, its recording is closed, its record is handed over, once.
    async fn close(mut self: Box<Self>) {
        // A connection that never had a seat is free before anyone hears of the end.
        self.wire = None;
        self.tell_thread(Order::Leave).await;
        self.running.stop();
        let Some(mut record) = self.over.take() else { return };
        record.recorder.append(&mut self.written);
        if let Some(log) = &mut self.log
            && let Ok(Ok(made)) = tokio::time::timeout(LOG_BEGUN, log.made.wait_for(Option::is_some)).await
            && *made == Some(false)
        {
            record.dump_event_file = None;
        }
        self.closing.extend(self.tape.take().map(|tape| tape.done));
        for done in self.closing.drain(..) {
            record.recorder.extend(tokio::time::timeout(TAPE_END, done).await.ok().and_then(Result::ok));
        }
        if self.lost_lines > 0 {
            tracing::warn!(lines = self.lost_lines, "the event log could not keep up");
        }
        let reason = record.hangup_reason.as_ref().map_or("", HangupReason::wire);
        tracing::info!(?reason, status = record.status_code, "call ends");
        // A call that was never begun has nothing to account for.
        let begun = record.answer_time.is_some() || (self.kind == CallKind::Sip && !record.callee.is_empty());
        if begun {
            self.services.told.over(record.hangup_reason.as_ref());
        }
        let recorded = begun && self.services.records.send(*record).await.is_ok();
        if begun && !recorded {
            tracing::error!("no one takes call records");
        }
        self.info.send_modify(|info| {
            info.phase = Phase::Over;
            info.recorded = recorded;
        });
        // Clients and log see their channels close after the record is on its way.
    }
}

/// The next thing that happens on any of `legs`.
async fn next_of(legs: &mut [(LegId, Box<dyn Leg>)]) -> (LegId, LegEvent) {
    if legs.is_empty() {
        return std::future::pending().await;
    }
    let all = legs.iter_mut().map(|(id, leg)| Box::pin(async move { (*id, leg.next().await) }));
    futures::future::select_all(all).await.0
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the task reads the clock for its rules")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "wall time is added at the edge of a call")]
fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
