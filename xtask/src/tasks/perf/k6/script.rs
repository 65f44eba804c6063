//! A load profile and its requests → a script for k6. Pure.
//!
//! Scenarios keep their names and become k6's of the same executor, but for users with a pace: these start an
//! iteration whether or not the last one ended, which is an arrival rate, while k6's own users wait for their answers.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::config::{Executor, Load, Request, Scenario, Stage};
use crate::load::Plan;

/// For how long nobody may answer before k6 has to make further users in the middle of the load, which it does too
/// slowly: meanwhile it drops iterations.
const PREPARED_FOR: f64 = 3.0;

/// However slow the load is.
const PREPARED_AT_LEAST: u32 = 50;

/// What asks, as k6 runs it.
pub fn render(plan: &Plan) -> Result<String> {
    let Plan { load, mix, routes, target, .. } = plan;
    let named = load.scenarios.iter().map(|(name, one)| (name, scenario(load, one)));
    let scenarios: BTreeMap<&String, Value> = named.collect();
    let (mut asked, mut until) = (Vec::new(), 0_u64);
    for route in routes {
        let weight = mix.get(&route.name).copied().unwrap_or_default();
        if weight > 0 {
            until += u64::from(weight);
            asked.push(question(&route.name, &route.request, until)?);
        }
    }
    let options = json!({ "scenarios": scenarios, "maxRedirects": 0, "summaryTrendStats": ["p(95)"] });
    // The last mark first: what is put in can then hold no mark that is still looked for before it.
    let values = [
        ("@OPTIONS@", options),
        ("@STRIDE@", stride(until).into()),
        ("@REQUESTS@", json!(asked)),
        ("@URL@", json!(target.url)),
    ];
    let text = values.iter().try_fold(SCRIPT.to_owned(), |text, (mark, value)| -> Result<String> {
        Ok(text.replacen(mark, &serde_json::to_string(value).context("cannot write the script of k6")?, 1))
    })?;
    Ok(text)
}

fn scenario(load: &Load, scenario: &Scenario) -> Value {
    let Scenario { executor, start, stages, pace, .. } = scenario;
    let ms = |duration: std::time::Duration| format!("{}ms", duration.as_millis());
    let stages_of = |stages: &[Stage]| -> Vec<Value> {
        stages.iter().map(|stage| json!({ "duration": ms(stage.duration), "target": stage.target })).collect()
    };
    let total = ms(scenario.end() - scenario.start_time);
    let (users, is_constant) = match executor {
        Executor::ConstantVus => (true, true),
        Executor::RampingVus => (true, false),
        Executor::ConstantArrivalRate => (false, true),
        Executor::RampingArrivalRate => (false, false),
    };
    let mut options = match (scenario.is_closed(), is_constant) {
        (true, true) => json!({ "executor": "constant-vus", "vus": start, "duration": total }),
        (true, false) => json!({ "executor": "ramping-vus", "startVUs": start, "stages": stages_of(stages) }),
        (false, true) => json!({ "executor": "constant-arrival-rate", "rate": start, "duration": total }),
        (false, false) => {
            json!({ "executor": "ramping-arrival-rate", "startRate": start, "stages": stages_of(stages) })
        }
    };
    if !scenario.is_closed() {
        let unit = if users { *pace } else { scenario.time_unit };
        let most = stages.iter().map(|stage| stage.target).chain([*start]).max().unwrap_or_default();
        let prepared = (f64::from(most) / unit.as_secs_f64() * PREPARED_FOR).ceil() as u32;
        options["timeUnit"] = json!(ms(unit));
        options["preAllocatedVUs"] = json!(prepared.max(PREPARED_AT_LEAST).min(load.max_vus));
        options["maxVUs"] = json!(load.max_vus);
    }
    options["startTime"] = json!(ms(scenario.start_time));
    options["gracefulStop"] = json!(ms(load.graceful_stop));
    options
}

fn question(name: &str, request: &Request, until: u64) -> Result<Value> {
    let body = match (&request.json, &request.text) {
        (Some(value), _) => Some(serde_json::to_string(value).context("cannot write the body of a request")?),
        (None, text) => text.clone(),
    };
    let mut headers = request.headers.clone();
    if request.json.is_some() && !headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
        headers.insert("Content-Type".to_owned(), "application/json".to_owned());
    }
    Ok(json!({
        "name": name,
        "until": until,
        "method": request.method(),
        "path": request.path(),
        "body": body,
        "headers": headers,
        "status": request.status,
        "shape": request.body,
        "stream": request.stream,
        "timeout": format!("{}ms", request.timeout.as_millis()),
    }))
}

/// A step that has no divisor in common with `sum` and is near its golden section: the nth iteration takes place
/// `n × step mod sum`, so that each request comes as often as its weight says, and evenly.
fn stride(sum: u64) -> u64 {
    let common = |mut a: u64, mut b: u64| {
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let golden = (sum as f64 * 0.618_033_988_749_895) as u64;
    (golden.max(1)..=sum.max(1)).find(|&step| common(step, sum) == 1).unwrap_or(1)
}

/// The rules of a shape are those of `shape.rs`, and those of a stream those of `expect.rs`.
const SCRIPT: &str = r#"import http from 'k6/http';
import exec from 'k6/execution';
import { check } from 'k6';

const url = @URL@;
const requests = @REQUESTS@;
const stride = @STRIDE@;
const sum = requests[requests.length - 1].until;

export const options = @OPTIONS@;

export default function () {
  const place = (exec.scenario.iterationInTest * stride) % sum;
  const request = requests.find((one) => place < one.until);
  const answer = http.request(request.method, url + request.path, request.body, {
    headers: request.headers,
    timeout: request.timeout,
    tags: { name: request.name },
    responseCallback: http.expectedStatuses(request.status),
  });
  if (answer.status === request.status) {
    check(answer, { expected: () => isExpected(request, answer) }, { name: request.name });
  }
}

function isExpected(request, answer) {
  const body = answer.body === null ? '' : answer.body;
  if (request.stream === null) {
    return request.shape === null || isJsonOf(request.shape, body);
  }
  const type = (answer.headers['Content-Type'] || '').split(';')[0].trim().toLowerCase();
  const events = eventsOf(body);
  const last = events.pop();
  return (
    type === 'text/event-stream' &&
    events.length > 0 &&
    last.data === request.stream &&
    events.every((event) => event.name !== 'error') &&
    (request.shape === null ||
      events.every((event) => event.data === request.stream || isJsonOf(request.shape, event.data)))
  );
}

function eventsOf(body) {
  const blocks = body.replace(/\r\n?/g, '\n').split('\n\n');
  // What no empty line ends was not sent whole.
  blocks.pop();
  const field = (block, name) =>
    block
      .split('\n')
      .filter((line) => line.startsWith(name + ':'))
      .map((line) => line.slice(name.length + 1).replace(/^ /, ''));
  return blocks
    .map((block) => ({ name: field(block, 'event').join(''), data: field(block, 'data') }))
    .filter((event) => event.data.length > 0)
    .map((event) => ({ name: event.name, data: event.data.join('\n') }));
}

function isJsonOf(shape, text) {
  try {
    return fits(shape, JSON.parse(text));
  } catch (_) {
    return false;
  }
}

function fits(shape, found) {
  if (Array.isArray(shape)) {
    return Array.isArray(found) && found.length > 0 && found.every((one) => fits(shape[0], one));
  }
  if (shape !== null && typeof shape === 'object') {
    return is('object', found) && Object.keys(shape).every((name) => name in found && fits(shape[name], found[name]));
  }
  if (typeof shape !== 'string') {
    return found === shape;
  }
  return shape.startsWith('=') ? found === shape.slice(1) : shape.split('|').some((name) => is(name, found));
}

function is(name, found) {
  switch (name) {
    case 'any':
      return true;
    case 'null':
      return found === null;
    case 'list':
      return Array.isArray(found);
    case 'object':
      return found !== null && typeof found === 'object' && !Array.isArray(found);
    case 'integer':
      return Number.isInteger(found);
    default:
      return typeof found === name;
  }
}
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Thresholds;
    use crate::load::target::Target;

    fn load(text: &str) -> Load {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn scenarios_keep_their_names_and_paced_users_are_a_rate() {
        for (text, expected) in [
            (
                "executor = \"constant-vus\"\nvus = 50\nduration = \"2m\"\npace = \"500ms\"",
                json!({ "executor": "constant-arrival-rate", "rate": 50, "duration": "120000ms", "timeUnit": "500ms",
                        "preAllocatedVUs": 300, "maxVUs": 1000, "startTime": "0ms", "gracefulStop": "30000ms" }),
            ),
            (
                "executor = \"constant-vus\"\nvus = 5\nduration = \"2s\"\npace = \"0s\"",
                json!({ "executor": "constant-vus", "vus": 5, "duration": "2000ms", "startTime": "0ms", "gracefulStop": "30000ms" }),
            ),
            (
                "executor = \"ramping-vus\"\nstart_vus = 1\nstages = [{ duration = \"3s\", target = 9 }]",
                json!({ "executor": "ramping-arrival-rate", "startRate": 1, "timeUnit": "1000ms",
                        "stages": [{ "duration": "3000ms", "target": 9 }],
                        "preAllocatedVUs": 50, "maxVUs": 1000, "startTime": "0ms", "gracefulStop": "30000ms" }),
            ),
            (
                "executor = \"constant-arrival-rate\"\nrate = 30\ntime_unit = \"1m\"\nduration = \"2s\"\nstart_time = \"1s\"",
                json!({ "executor": "constant-arrival-rate", "rate": 30, "duration": "2000ms", "timeUnit": "60000ms",
                        "preAllocatedVUs": 50, "maxVUs": 1000, "startTime": "1000ms", "gracefulStop": "30000ms" }),
            ),
        ] {
            let load = load(&format!("[scenarios.main]\n{text}\n"));
            assert_eq!(scenario(&load, &load.scenarios["main"]), expected, "{text}");
        }
    }

    #[test]
    fn each_request_comes_as_often_as_its_weight_says() {
        for sum in 1..200_u64 {
            let stride = stride(sum);
            let mut places: Vec<u64> = (0..sum).map(|n| n * stride % sum).collect();
            places.sort_unstable();
            assert_eq!(places, (0..sum).collect::<Vec<_>>(), "{sum}");
        }
    }

    #[test]
    fn text_of_the_configuration_stays_text() {
        let load = load("[scenarios.main]\nexecutor = \"constant-vus\"\nvus = 1\nduration = \"1s\"\n");
        let request: Request = toml::from_str("send = \"POST /x\"\ntext = '''@STRIDE@ \"; throw 1; //\n'''\n").unwrap();
        let (mix, requests) =
            (BTreeMap::from([("a\"b".to_owned(), 1)]), BTreeMap::from([("a\"b".to_owned(), request)]));
        let target = Target::parse("http://127.0.0.1:1").unwrap();
        let routes = target.routes(&mix, &requests).unwrap();
        let plan = Plan { name: "x".to_owned(), load, target, routes, mix, thresholds: Thresholds(vec![]), seed: 1 };
        let script = render(&plan).unwrap();
        assert!(script.contains(r#""body":"@STRIDE@ \"; throw 1; //\n""#), "{script}");
        assert!(script.contains(r#""name":"a\"b""#) && script.contains("const stride = 1;"), "{script}");
        assert!(script.contains(r#"const url = "http://127.0.0.1:1";"#), "{script}");
    }
}
