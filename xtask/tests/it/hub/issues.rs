//! Issues, comments and labels.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Asked, REPOSITORY, Reply, State, decoded, label, message};

impl State {
    /// <https://docs.github.com/rest/issues>
    pub(super) fn of_issues(&mut self, asked: &Asked, address: SocketAddr) -> Reply {
        let refused = |status, text: &str| (status, vec![], message(text));
        if self.issues_are_disabled {
            return refused(410, "Issues are disabled for this repo");
        }
        let body = &asked.body;
        let parts: Vec<String> = asked.path.split('/').skip(1).map(decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let names = |key: &str| -> Vec<Value> { body[key].as_array().cloned().unwrap_or_default() };
        let too_long = body["body"].as_str().is_some_and(|text| text.chars().count() > 65_536);
        let odd_label = names("labels").iter().any(|label| label.as_str().is_none_or(|name| name.chars().count() > 50));
        if too_long || odd_label {
            return refused(422, "Validation Failed");
        }
        let may = !self.is_stranger;
        match (asked.method.as_str(), parts.as_slice()) {
            ("GET", []) => {
                let label = decoded(&asked.query["labels"]).to_lowercase();
                let has = |issue: &Value| {
                    let labels = issue["labels"].as_array().unwrap();
                    labels.iter().any(|one| one["name"].as_str().unwrap().to_lowercase() == label)
                };
                let fits = |issue: &&Value| issue["state"] == *asked.query["state"] && has(issue);
                // The newest comes first, unless somebody asks for another order.
                let mut found: Vec<Value> = self.issues.iter().filter(fits).cloned().collect();
                if asked.query.get("direction").is_none_or(|direction| direction != "asc") {
                    found.reverse();
                }
                self.paged(asked, 200, json!(found), address)
            }
            ("POST", []) => {
                let mut issue = self.new_issue();
                (issue["title"], issue["body"]) = (body["title"].clone(), body["body"].clone());
                if may {
                    issue["labels"] = names("labels").iter().map(label).collect();
                }
                self.issues.push(issue.clone());
                (201, vec![], issue)
            }
            ("DELETE", ["comments", id]) => {
                let before = self.comments.len();
                let id: u64 = id.parse().unwrap();
                self.comments.retain(|(_, comment)| comment["id"] != id);
                if self.comments.len() < before { (204, vec![], Value::Null) } else { refused(404, "Not Found") }
            }
            ("GET", [number, "comments"]) => {
                let number: u64 = number.parse().unwrap();
                let of_it = self.comments.iter().filter(|(issue, _)| *issue == number);
                let found: Vec<Value> = of_it.map(|(_, comment)| comment.clone()).collect();
                self.paged(asked, 200, json!(found), address)
            }
            ("POST", [number, "comments"]) => {
                let id = self.new_comment();
                let (user, association) = (self.user(), self.association());
                let comment = json!({
                    "id": id, "body": body["body"], "user": user, "author_association": association, "created_at": self.now,
                });
                self.comments.push((number.parse().unwrap(), comment.clone()));
                (201, vec![], comment)
            }
            (method, [number, rest @ ..]) => {
                let number: u64 = number.parse().unwrap();
                let Some(issue) = self.issues.iter_mut().find(|issue| issue["number"] == number) else {
                    return refused(404, "Not Found");
                };
                let has = |issue: &Value, list: &str, key: &str, name: &Value| {
                    issue[list].as_array().unwrap().iter().any(|one| one[key] == *name)
                };
                match (method, rest) {
                    ("GET", []) => {}
                    ("PATCH", []) => {
                        for key in ["title", "body", "state", "state_reason"] {
                            if let Some(value) = body.get(key) {
                                issue[key] = value.clone();
                            }
                        }
                    }
                    ("POST", ["labels"]) => {
                        for name in names("labels").into_iter().filter(|_| may) {
                            if !has(issue, "labels", "name", &name) {
                                issue["labels"].as_array_mut().unwrap().push(label(&name));
                            }
                        }
                        return (200, vec![], issue["labels"].clone());
                    }
                    ("DELETE", ["labels", name]) => {
                        let labels = issue["labels"].as_array_mut().unwrap();
                        let before = labels.len();
                        labels.retain(|one| one["name"] != **name);
                        if labels.len() == before {
                            return refused(404, "Label does not exist");
                        }
                        return (200, vec![], issue["labels"].clone());
                    }
                    ("POST", ["assignees"]) => {
                        // Who has no access is left out without a word.
                        for name in names("assignees").into_iter().filter(|name| may && *name != "nobody") {
                            if !has(issue, "assignees", "login", &name) {
                                issue["assignees"].as_array_mut().unwrap().push(json!({"login": name, "type": "User"}));
                            }
                        }
                        return (201, vec![], issue.clone());
                    }
                    _ => return refused(404, "Not Found"),
                }
                (200, vec![], issue.clone())
            }
            _ => refused(404, "Not Found"),
        }
    }

    pub(super) fn new_issue(&self) -> Value {
        let number = 1 + self.issues.len() as u64;
        json!({
            "number": number, "html_url": format!("https://github.example/{REPOSITORY}/issues/{number}"), "title": "",
            "body": null, "labels": [], "assignees": [], "state": "open", "state_reason": null, "user": self.user(),
            "author_association": self.association(),
        })
    }

    pub(super) fn new_comment(&self) -> u64 {
        1 + self.comments.iter().map(|(_, comment)| comment["id"].as_u64().unwrap()).max().unwrap_or(500)
    }

    /// Whoever asks: the app of Actions, or somebody from outside.
    pub(super) fn user(&self) -> Value {
        match self.is_stranger {
            true => json!({"login": "mallory", "type": "User"}),
            false => json!({"login": "github-actions[bot]", "type": "Bot"}),
        }
    }

    pub(super) fn association(&self) -> &'static str {
        if self.is_stranger { "CONTRIBUTOR" } else { "NONE" }
    }
}
