//! The chat model of a playbook, asked for a whole answer while the simulated clock stands still.

use playbook::Playbook;
use protocol::chat::{Ask, ModelOutput};
use providers::ChatModel;
use providers::run::{self, Limits};
use tokio::sync::mpsc;

/// Pieces of an answer on their way; when full the model waits.
const PIECES: usize = 64;
/// Most pieces of an answer that are kept; the rest is read and dropped.
const MOST_PIECES: usize = 20_000;

/// A chat model.
pub(super) struct Live {
    name: String,
    model: Box<dyn ChatModel>,
}

impl Live {
    /// The model of `playbook`; `None` when it has none.
    ///
    /// # Errors
    /// A text: the provider is unknown, or an option or a key is missing.
    pub(super) fn of(playbook: &Playbook) -> Result<Option<Live>, String> {
        let Some(option) = &playbook.llm else { return Ok(None) };
        let name = option.provider.clone().unwrap_or_default();
        let model = providers::chat_model(option).map_err(|error| error.to_string())?;
        Ok(Some(Live { name, model }))
    }

    /// Whether it answers without a network and a key.
    pub(super) fn is_offline(&self) -> bool {
        self.name.trim().eq_ignore_ascii_case("rules")
    }

    /// The whole answer. A failure is the answer's last piece.
    pub(super) async fn answer(&self, ask: &Ask) -> Vec<ModelOutput> {
        let (pieces, mut answer) = mpsc::channel(PIECES);
        let mut outputs = Vec::new();
        let gathering = async {
            while let Some(piece) = answer.recv().await {
                if outputs.len() < MOST_PIECES {
                    outputs.push(piece);
                }
            }
        };
        let asking = run::chat(&self.name, self.model.as_ref(), &Limits::ASIDE, ask.clone(), pieces);
        let (asked, ()) = tokio::join!(asking, gathering);
        if let Err(error) = asked {
            outputs.push(ModelOutput::Failed { error: error.to_string() });
        }
        outputs
    }
}
