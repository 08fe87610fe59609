//! What a run has to do with signatures: what it hears of the history at the locations, and its own statement.

use super::BackupRun;
use crate::attest::{self, Reading};
use crate::point::Point;
use crate::session::Place;
use recoup_core::Error;
use recoup_core::event::{Finding, Outcome, Severity};

impl BackupRun<'_> {
    /// Takes findings; those that say the history of a location is not what it was keep the run from passing.
    pub(super) fn heard(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.distrusted |= attest::is_about_trust(&finding) && finding.severity == Severity::High;
            self.finding(finding);
        }
    }

    /// Signs for the point. Without a signature it is stored all the same, and does not count.
    pub(super) async fn sign(&mut self, point: &Point) {
        let Some(mut history) = self.history.take() else { return };
        let timer = self.start("sign", self.session.app());
        let (session, place) = (self.session, self.place);
        let mut done = attest::point_made(session, place, &mut history, &self.previous, point).await;
        if done.is_ok() {
            done = attest::point_settled(session, self.repo.id(), point);
        }
        if done.is_ok() {
            done = attest::remember(session, place, self.repo.id()).await.map(drop);
        }
        let seconds = timer.seconds(session);
        match done {
            Ok(()) => self.end(timer, seconds, Outcome::Pass, String::new()),
            Err(error) => {
                self.distrusted = true;
                self.finding(unsigned(&place.name, &error));
                self.end(timer, seconds, Outcome::Fail, error.to_string());
            }
        }
        self.history = Some(history);
    }

    /// Signs for what earlier runs made and could not sign. What cannot be made up for now is told as unattested.
    pub(super) async fn make_up(&mut self) {
        let Some(mut history) = self.history.take() else { return };
        let made_up = attest::make_up(self.session, self.place, &mut history, &mut self.previous).await;
        self.history = Some(history);
        if let Err(error) = made_up {
            self.distrusted = true;
            self.finding(unsigned(&self.place.name, &error));
        }
    }

    /// Looks at the history of another location before copying mends it.
    pub(super) async fn before_copy(&mut self, place: &Place) {
        if !place.path.is_dir() {
            return;
        }
        // A location that cannot be read is reported by the copy.
        if let Ok(Some(history)) = attest::look(self.session, place, self.repo.id(), Reading::New).await {
            self.heard(history.findings);
        }
    }
}

fn unsigned(place: &str, error: &Error) -> Finding {
    Finding::new(
        "E0676",
        Severity::High,
        format!("location {place}"),
        format!("the point is stored, and nobody answers for it: {error}"),
        "mend this and run `recoup backup` again; this point can be restored by its own name only",
    )
}
