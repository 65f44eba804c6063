//! What a HorizontalPodAutoscaler goes by, and why it cannot. Pure.

use serde::Serialize;
use serde_json::Value;

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Autoscaler {
    /// Its name.
    pub name: String,
    /// The bounds.
    pub min: i64,
    /// The bounds.
    pub max: i64,
    /// How many there are by its count.
    pub current: i64,
    /// How many it wants.
    pub desired: i64,
    /// What it goes by: `cpu 34 % of 70 %`.
    pub metrics: Vec<String>,
    /// Why it cannot scale; empty where it can.
    pub stuck: String,
}

/// Whether it scales this Deployment.
pub fn scales(scaler: &Value, workload: &str) -> bool {
    let target = &scaler["spec"]["scaleTargetRef"];
    target["kind"] == "Deployment" && target["name"] == *workload
}

/// What there is to say of it.
pub fn autoscaler(scaler: &Value) -> Autoscaler {
    let (spec, status) = (&scaler["spec"], &scaler["status"]);
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let metrics = list(&spec["metrics"]).into_iter().map(|metric| {
        let name = metric["resource"]["name"].as_str().unwrap_or_default().to_owned();
        let current = list(&status["currentMetrics"]);
        let current = current.iter().find(|current| current["resource"]["name"] == *name);
        let percent = |value: Option<&Value>| value.and_then(Value::as_i64).map_or("?".to_owned(), |n| n.to_string());
        let now = percent(current.map(|current| &current["resource"]["current"]["averageUtilization"]));
        let wanted = percent(Some(&metric["resource"]["target"]["averageUtilization"]));
        if name.is_empty() {
            metric["type"].as_str().unwrap_or("unknown").to_owned()
        } else {
            format!("{name} {now} % of {wanted} %")
        }
    });
    let conditions = list(&status["conditions"]);
    let stuck = conditions.iter().find(|condition| {
        ["ScalingActive", "AbleToScale"].contains(&condition["type"].as_str().unwrap_or_default())
            && condition["status"] == "False"
    });
    let stuck = stuck.map(|stuck| {
        let text = |name: &str| stuck[name].as_str().unwrap_or_default();
        crate::text::clean(&format!("{}: {}", text("reason"), text("message")))
    });
    Autoscaler {
        name: scaler["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        min: spec["minReplicas"].as_i64().unwrap_or(1),
        max: number(&spec["maxReplicas"]),
        current: number(&status["currentReplicas"]),
        desired: number(&status["desiredReplicas"]),
        metrics: metrics.collect(),
        stuck: stuck.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_autoscaler_says_what_it_goes_by_and_why_it_cannot() {
        let metric = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 70}}});
        let scaler = |conditions: Value, current: Value| {
            json!({
                "metadata": {"name": "forge"},
                "spec": {"minReplicas": 2, "maxReplicas": 6, "scaleTargetRef": {"kind": "Deployment", "name": "forge"}, "metrics": [metric]},
                "status": {"currentReplicas": 2, "desiredReplicas": 3, "conditions": conditions, "currentMetrics": current},
            })
        };
        let current = json!([{"resource": {"name": "cpu", "current": {"averageUtilization": 81}}}]);
        let found = autoscaler(&scaler(json!([]), current));
        assert!(scales(&scaler(json!([]), json!(null)), "forge") && !scales(&scaler(json!([]), json!(null)), "redis"));
        assert_eq!((found.min, found.max, found.current, found.desired), (2, 6, 2, 3));
        assert_eq!((found.metrics, found.stuck), (vec!["cpu 81 % of 70 %".to_owned()], String::new()));
        let stuck = json!([{"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": "no metrics"}]);
        let found = autoscaler(&scaler(stuck, json!(null)));
        assert_eq!(found.stuck, "FailedGetResourceMetric: no metrics");
        assert_eq!(found.metrics, ["cpu ? % of 70 %"]);
    }
}
