//! Answers of endpoints → what is wrong with them: status, shape and time. Pure.

use std::time::Duration;

use crate::config::Request;
use crate::expect::{Answer, judge};
use crate::tools::http::Unanswered;
use crate::verdict::{Finding, NotRun, Severity};

/// One request and what came of it.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Its name in the configuration.
    pub name: &'a str,
    /// Where it went.
    pub address: &'a str,
    /// What was asked.
    pub request: &'a Request,
    /// In which time the whole answer has to be there.
    pub budget: Duration,
    /// What came.
    pub answer: Result<Answer, Unanswered>,
    /// After which time.
    pub took: Duration,
}

impl Asked<'_> {
    /// What is wrong, in words; `None` where it is as it has to be.
    pub fn fault(&self) -> Option<Finding> {
        let Self { name, address, request, budget, answer, took } = self;
        let wrong = match answer {
            Err(unanswered) => Some(unanswered.to_string()),
            Ok(answer) => judge(request, answer).err(),
        };
        let told = |rule: String, severity: Severity, what: String| {
            Some(Finding::new(rule, severity, format!("{address}: {}: {what}", request.send)))
        };
        match wrong {
            Some(wrong) => told((*name).to_owned(), Severity::High, wrong),
            None if took > budget => {
                let what = format!("the answer took {} ms, and has {} ms", took.as_millis(), budget.as_millis());
                told(format!("{name}-slow"), Severity::Medium, what)
            }
            None => None,
        }
    }

    /// For the log: `/health at ADDRESS: 200 after 12 ms`.
    pub fn in_words(&self) -> String {
        let status = match &self.answer {
            Ok(answer) => answer.status.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        let fault = self.fault().map_or("as expected".to_owned(), |fault| fault.message);
        format!("{} at {}: {status} after {} ms: {fault}", self.request.send, self.address, self.took.as_millis())
    }

    /// Whether anything of the environment was heard.
    fn is_heard(&self) -> bool {
        !matches!(self.answer, Err(Unanswered::NotReached(_)))
    }
}

/// Everything that is wrong. Where nothing of the environment was heard at all (`heard`: something else of it was),
/// the fault may be this machine's, and nothing is proved.
pub fn assess(asked: &[Asked<'_>], heard: bool) -> Result<Vec<Finding>, NotRun> {
    if !heard && !asked.iter().any(Asked::is_heard) {
        let findings = asked.iter().find_map(Asked::fault).into_iter().collect();
        let fix = "see whether this machine may reach it (name, network, proxy), then run again";
        return Err(NotRun { findings, ..NotRun::new("nothing of the environment can be reached", fix) });
    }
    Ok(asked.iter().filter_map(Asked::fault).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Result<Answer, Unanswered> {
        let (content_type, body) = ("application/json".to_owned(), body.as_bytes().to_vec());
        Ok(Answer { status, content_type, body, is_whole: true })
    }

    #[test]
    fn an_endpoint_is_well_by_status_shape_and_time() {
        let request: Request = toml::from_str("send = \"GET /health\"\nbody = { status = \"=ok\" }").unwrap();
        let refused = || Err(Unanswered::Refused("Connection refused".into()));
        let unknown = || Err(Unanswered::NotReached("no such name".into()));
        let cut = Answer { is_whole: false, ..answer(200, "{").unwrap() };
        for (answer, took, heard, expected) in [
            (answer(200, r#"{"status":"ok"}"#), 100, false, Ok("")),
            (
                answer(200, r#"{"status":"ok"}"#),
                101,
                false,
                Ok("health-slow: http://a: GET /health: the answer took 101 ms, and has 100 ms"),
            ),
            (answer(503, "{}"), 1, false, Ok("health: http://a: GET /health: status 503, expected 200")),
            (answer(200, "{}"), 1, false, Ok("health: http://a: GET /health: $: the field `status` is missing")),
            (Ok(cut), 1, false, Ok("health: http://a: GET /health: the body was cut after 1 bytes")),
            (refused(), 1, false, Ok("health: http://a: GET /health: cannot be reached: Connection refused")),
            (
                Err(Unanswered::Silent("after 10 s".into())),
                1,
                false,
                Ok("health: http://a: GET /health: did not answer: after 10 s"),
            ),
            (unknown(), 1, true, Ok("health: http://a: GET /health: cannot be reached: no such name")),
            (unknown(), 1, false, Err("nothing of the environment can be reached")),
        ] {
            let (budget, took) = (Duration::from_millis(100), Duration::from_millis(took));
            let asked = Asked { name: "health", address: "http://a", request: &request, budget, answer, took };
            let found = assess(&[asked], heard).map_err(|why| why.reason);
            let found = found.map(|all| all.iter().map(|f| format!("{}: {}", f.rule, f.message)).collect::<String>());
            assert_eq!(found.as_deref().map_err(String::as_str), expected);
        }
        assert!(assess(&[], false).is_err());
    }
}
