//! [`Conversation`]: what one deployment has said so far, for any number of followers, who may come
//! late, leave early, and come back.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::protocol::Event;
use super::world::Stopper;

/// The events of one deployment. Grows until a final event; nothing is ever taken out.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    said: Mutex<Said>,
    changed: Condvar,
    /// Asks the deployment's thread to stop.
    pub(crate) stopper: Stopper,
}

#[derive(Debug, Default)]
struct Said {
    events: Vec<Event>,
    ended: bool,
}

impl Conversation {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn say(&self, event: Event) {
        let mut said = self.said();
        if said.ended {
            return;
        }
        said.ended = is_final(&event);
        said.events.push(event);
        drop(said);
        self.changed.notify_all();
    }

    pub(crate) fn line(&self, line: impl Into<String>) {
        self.say(Event::Say { line: line.into() });
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.said().ended
    }

    /// Hands every event to `sink`, from the first to the final one, waiting for those to come.
    /// Ends early when `sink` fails: its reader went away.
    pub(crate) fn follow(&self, mut sink: impl FnMut(&Event) -> std::io::Result<()>) {
        let mut next = 0;
        loop {
            let mut said = self.said();
            while said.events.len() == next && !said.ended {
                said = self.changed.wait(said).unwrap_or_else(PoisonError::into_inner);
            }
            let fresh: Vec<Event> = said.events[next..].to_vec();
            let ended = said.ended;
            drop(said);
            next += fresh.len();
            for event in &fresh {
                if sink(event).is_err() {
                    return;
                }
            }
            if ended {
                return;
            }
        }
    }

    /// Waits for the final event, at most `patience`.
    pub(crate) fn wait_at_most(&self, patience: std::time::Duration) {
        let said = self.said();
        let ended = self.changed.wait_timeout_while(said, patience, |said| !said.ended);
        drop(ended);
    }

    /// Waits for the final event.
    pub(crate) fn wait(&self) {
        self.follow(|_| Ok(()));
    }
}

fn is_final(event: &Event) -> bool {
    matches!(event, Event::Done { .. } | Event::Failed { .. } | Event::Refused { .. })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::protocol::Summary;
    use super::*;

    #[test]
    fn a_late_follower_hears_everything() {
        let conversation = Arc::new(Conversation::default());
        conversation.line("one");
        let follower = {
            let conversation = Arc::clone(&conversation);
            std::thread::spawn(move || {
                let mut heard = Vec::new();
                conversation.follow(|event| {
                    heard.push(serde_json::to_value(event).unwrap()["event"].clone());
                    Ok(())
                });
                heard
            })
        };
        conversation.line("two");
        conversation.say(Event::Done { summary: Summary::default() });
        conversation.line("after the end: nobody hears it");
        assert_eq!(follower.join().unwrap(), ["say", "say", "done"]);
        assert!(conversation.has_ended());
    }
}
