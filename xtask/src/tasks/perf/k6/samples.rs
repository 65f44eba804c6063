//! What k6 wrote of each request (`--out csv`) → samples. Pure.
//!
//! k6 writes one line a metric: those of one request follow each other, and begin with `http_reqs`. A check comes
//! later, and belongs to the last request of the same iteration of the same user.
//! <https://grafana.com/docs/k6/latest/results-output/real-time/csv/>

use std::collections::HashMap;
use std::time::Duration;

use csv::{Reader, StringRecord};

/// The system tags that are read; k6 writes others only where they are asked for.
pub const TAGS: &str = "name,status,scenario,error_code,check,vu,iter";

/// The unit of the column `timestamp`, as k6 names it in `K6_CSV_TIME_FORMAT`.
pub const TIME_FORMAT: &str = "unix_micro";

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When its answer was there, since the Unix epoch.
    pub ended: Duration,
    /// The scenario.
    pub scenario: String,
    /// The tag `name`.
    pub name: String,
    /// The status; 0 where there was no answer.
    pub status: u16,
    /// k6's code of what went wrong, empty where nothing did
    /// (<https://grafana.com/docs/k6/latest/javascript-api/error-codes/>).
    pub error_code: String,
    /// Whether k6 counts it as failed: no answer, or not the expected status.
    pub has_failed: bool,
    /// The first check of it that failed.
    pub broken_check: Option<String>,
    /// Sending, waiting and receiving.
    pub service: Duration,
    /// Before that: waiting for a connection, or making one.
    pub blocked: Duration,
    /// Until the first byte of the answer, from when the request was sent.
    pub waiting: Duration,
}

/// Everything that is read of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples {
    /// In the order in which k6 wrote them.
    pub requests: Vec<Sample>,
    /// How many users were active, and when.
    pub users: Vec<(Duration, u64)>,
    /// Iterations that came to their end.
    pub iterations: u64,
    /// Iterations that nobody was free for, and when.
    pub dropped: Vec<(Duration, u64)>,
}

impl Samples {
    /// How many iterations were dropped.
    pub fn count_dropped(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }
}

/// The columns that are read, by their place.
struct Columns {
    metric: usize,
    time: usize,
    value: usize,
    check: usize,
    error_code: usize,
    name: usize,
    scenario: usize,
    status: usize,
    metadata: usize,
}

/// The text → samples. Err: what is no such file, or one that was cut off.
pub fn read(text: &str) -> Result<Samples, String> {
    let broken = |why: &dyn std::fmt::Display| format!("the samples of k6 cannot be read: {why}");
    let mut reader = Reader::from_reader(text.as_bytes());
    let columns = columns(reader.headers().map_err(|error| broken(&error))?).map_err(|why| broken(&why))?;
    let mut samples = Samples::default();
    // The last request of each user, by the metadata that k6 writes of it.
    let mut last: HashMap<String, usize> = HashMap::new();
    let (mut open, mut cut) = (None::<Open>, false);
    for record in reader.records() {
        let record = record.map_err(|error| broken(&error))?;
        let field = |column: usize| record.get(column).unwrap_or_default();
        let value: f64 = field(columns.value).parse().map_err(|_| broken(&"a value is no number"))?;
        let time: u64 = field(columns.time).parse().map_err(|_| broken(&"a time is no number"))?;
        let (time, who) = (Duration::from_micros(time), who(field(columns.metadata)));
        let metric = field(columns.metric);
        if let Some(open) = &mut open
            && let Some(part) = open.part(metric)
        {
            *part = Some(value);
            continue;
        }
        if metric == "http_reqs" {
            cut |= close(open.take(), &mut samples);
            last.insert(who, samples.requests.len());
            open = Some(Open::new(&columns, &record, time));
            continue;
        }
        match metric {
            "iterations" => samples.iterations += value as u64,
            "dropped_iterations" => samples.dropped.push((time, value as u64)),
            "vus" => samples.users.push((time, value as u64)),
            "checks" if value == 0.0 => {
                cut |= close(open.take(), &mut samples);
                let of = last.get(&who).and_then(|&at| samples.requests.get_mut(at));
                // A script may check what is no answer.
                let Some(request) = of else { continue };
                request.broken_check.get_or_insert_with(|| field(columns.check).to_owned());
            }
            _ => {}
        }
    }
    cut |= close(open, &mut samples);
    if cut { Err(broken(&"a request has no duration, or no outcome")) } else { Ok(samples) }
}

fn columns(header: &StringRecord) -> Result<Columns, String> {
    let place = |name: &str| {
        header.iter().position(|column| column == name).ok_or_else(|| format!("there is no column `{name}`"))
    };
    Ok(Columns {
        metric: place("metric_name")?,
        time: place("timestamp")?,
        value: place("metric_value")?,
        check: place("check")?,
        error_code: place("error_code")?,
        name: place("name")?,
        scenario: place("scenario")?,
        status: place("status")?,
        metadata: place("metadata")?,
    })
}

/// `iter=0&vu=1` and `vu=1&iter=0` are the same iteration; k6 writes both.
fn who(metadata: &str) -> String {
    let mut parts: Vec<&str> = metadata.split('&').collect();
    parts.sort_unstable();
    parts.join("&")
}

/// A request of which not all lines are read yet.
struct Open {
    sample: Sample,
    duration: Option<f64>,
    blocked: Option<f64>,
    waiting: Option<f64>,
    failed: Option<f64>,
}

impl Open {
    fn new(columns: &Columns, record: &StringRecord, ended: Duration) -> Self {
        let field = |column: usize| record.get(column).unwrap_or_default();
        let sample = Sample {
            ended,
            scenario: field(columns.scenario).to_owned(),
            name: field(columns.name).to_owned(),
            status: field(columns.status).parse().unwrap_or(0),
            error_code: field(columns.error_code).to_owned(),
            has_failed: false,
            broken_check: None,
            service: Duration::ZERO,
            blocked: Duration::ZERO,
            waiting: Duration::ZERO,
        };
        Self { sample, duration: None, blocked: None, waiting: None, failed: None }
    }

    fn part(&mut self, metric: &str) -> Option<&mut Option<f64>> {
        match metric {
            "http_req_duration" => Some(&mut self.duration),
            "http_req_blocked" => Some(&mut self.blocked),
            "http_req_waiting" => Some(&mut self.waiting),
            "http_req_failed" => Some(&mut self.failed),
            _ => None,
        }
    }
}

/// Keeps a request; true where lines of it are missing.
fn close(open: Option<Open>, samples: &mut Samples) -> bool {
    let Some(Open { sample, duration, blocked, waiting, failed }) = open else { return false };
    let (Some(duration), Some(failed)) = (duration, failed) else { return true };
    let time = |ms: f64| Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default();
    let (blocked, waiting) = (time(blocked.unwrap_or_default()), time(waiting.unwrap_or_default()));
    samples.requests.push(Sample { has_failed: failed != 0.0, service: time(duration), blocked, waiting, ..sample });
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "metric_name,timestamp,metric_value,check,error,error_code,method,name,scenario,status,extra_tags,metadata\n";

    /// Recorded from k6 1.8.1, and cut to the lines that matter.
    const TWO: &str = "http_reqs,1795531030262938,1.000000,,,,GET,\"health, \"\"x\"\"\",load,200,,vu=1&iter=0\n\
        http_req_duration,1795531030262938,5.896254,,,,GET,\"health, \"\"x\"\"\",load,200,,vu=1&iter=0\n\
        http_req_blocked,1795531030262938,1.263026,,,,GET,\"health, \"\"x\"\"\",load,200,,iter=0&vu=1\n\
        http_req_waiting,1795531030262938,5.697389,,,,GET,\"health, \"\"x\"\"\",load,200,,vu=1&iter=0\n\
        http_req_failed,1795531030262938,0.000000,,,,GET,\"health, \"\"x\"\"\",load,200,,vu=1&iter=0\n\
        checks,1795531030263160,0.000000,body,,,,health,load,,,iter=0&vu=1\n\
        http_reqs,1795531030263504,1.000000,,dial: connection refused,1212,GET,gone,load,0,,vu=1&iter=0\n\
        http_req_duration,1795531030263504,0.000000,,dial: connection refused,1212,GET,gone,load,0,,vu=1&iter=0\n\
        http_req_failed,1795531030263504,1.000000,,dial: connection refused,1212,GET,gone,load,0,,vu=1&iter=0\n\
        iterations,1795531032256798,1.000000,,,,,,load,,,vu=1&iter=0\n\
        dropped_iterations,1795531032256798,3.000000,,,,,,load,,,\n\
        vus,1795531032256798,4.000000,,,,,,,,,\n";

    #[test]
    fn a_request_is_made_of_its_lines() {
        let samples = read(&format!("{HEADER}{TWO}")).unwrap();
        assert_eq!((samples.iterations, samples.count_dropped()), (1, 3));
        assert_eq!(samples.users, [(Duration::from_micros(1_795_531_032_256_798), 4)]);
        let [health, gone] = samples.requests.as_slice() else { panic!("{:?}", samples.requests) };
        assert_eq!((health.name.as_str(), health.status), ("health, \"x\"", 200));
        assert_eq!((health.has_failed, health.broken_check.as_deref()), (false, Some("body")));
        assert_eq!(health.service, Duration::from_nanos(5_896_254));
        assert_eq!(health.blocked, Duration::from_nanos(1_263_026));
        assert_eq!(health.waiting, Duration::from_nanos(5_697_389));
        assert_eq!(health.ended, Duration::from_micros(1_795_531_030_262_938));
        assert_eq!(
            (gone.name.as_str(), gone.status, gone.error_code.as_str(), gone.has_failed),
            ("gone", 0, "1212", true)
        );
    }

    #[test]
    fn what_is_cut_off_or_something_else_is_no_run() {
        let lines: Vec<&str> = TWO.lines().collect();
        for (text, why) in [
            ("".to_owned(), "there is no column `metric_name`"),
            ("<html>\n".to_owned(), "there is no column `metric_name`"),
            (format!("{HEADER}{}\n", lines[0]), "a request has no duration"),
            (format!("{HEADER}{}\n{}\n", lines[0], lines[1]), "no outcome"),
            (format!("{HEADER}{}\n{}", lines[0], &lines[1][..30]), "cannot be read"),
            (format!("{HEADER}{}\n", TWO.replace("5.896254", "much")), "a value is no number"),
        ] {
            let refused = read(&text).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        assert_eq!(read(HEADER), Ok(Samples::default()));
    }
}
