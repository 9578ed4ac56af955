//! A running playbook: what happens in a call in, what shall be done out.

mod types;

pub use types::{Action, Ended, HttpRequest, Input, Note};

use std::sync::Arc;

use protocol::CallTime;
use protocol::chat::Message;

use crate::playbook::Playbook;
use crate::vars::Vars;

/// A running playbook.
#[derive(Debug)]
pub struct Conversation {
    playbook: Arc<Playbook>,
    vars: Vars,
    scene: usize,
    history: Vec<Message>,
}

impl Conversation {
    /// A conversation that waits for [`Input::Answered`].
    pub fn new(playbook: Arc<Playbook>, vars: Vars) -> Self {
        Conversation { playbook, vars, scene: 0, history: Vec::new() }
    }

    /// Takes in what happened at `now` and appends to `out` what shall be done, in this order.
    pub fn handle(&mut self, now: CallTime, input: Input, out: &mut Vec<Action>) {
        let _ = (now, input, out);
    }

    /// When [`Input::Tick`] is due next; `None` while only the outside can change anything.
    pub fn timeout(&self) -> Option<CallTime> {
        None
    }

    /// Variables as they stand.
    pub fn vars(&self) -> &Vars {
        &self.vars
    }

    /// Name of the scene.
    pub fn scene(&self) -> &str {
        self.playbook.scenes.get(self.scene).map_or("default", |scene| scene.id.as_str())
    }

    /// What was said and heard so far; the agent's words only as far as the caller has heard them.
    pub fn history(&self) -> &[Message] {
        &self.history
    }
}
