//! Follows the objects of some paths: lists them, then watches them from there on, and begins anew where the API server
//! has forgotten from where. Nothing goes on once the value is dropped.

use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::tools::kube::{Change, Kube, Trouble};

/// Between two attempts to reach an API server that is gone.
const AGAIN: Duration = Duration::from_millis(500);

/// What is new of a path.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// These objects are there, and no others.
    Listed(Vec<Value>),
    /// One is there, or is another one than before.
    Seen(Value),
    /// One is gone; this is what it was.
    Gone(Value),
    /// The API server answers, and tells what happens from now on.
    Answers,
    /// It does not.
    Lost(Trouble),
}

/// Some paths that are followed.
#[derive(Debug)]
pub struct Follower {
    news: UnboundedReceiver<(usize, News)>,
    // They end with this value.
    _tasks: JoinSet<()>,
}

impl Follower {
    /// Begins to follow `paths`, which may have queries.
    pub fn of(kube: &Kube, paths: Vec<String>) -> Self {
        let (sender, news) = unbounded_channel();
        let mut tasks = JoinSet::new();
        for (index, path) in paths.into_iter().enumerate() {
            let path = Path { kube: kube.clone(), path, index, sender: sender.clone() };
            tasks.spawn(async move { path.follow().await });
        }
        Self { news, _tasks: tasks }
    }

    /// What is new, with the place of its path among those that are followed. May be dropped at any moment.
    pub async fn next(&mut self) -> (usize, News) {
        match self.news.recv().await {
            Some(news) => news,
            // Those who tell never end by themselves.
            None => std::future::pending().await,
        }
    }

    /// The same, if there is something already.
    pub fn at_once(&mut self) -> Option<(usize, News)> {
        self.news.try_recv().ok()
    }
}

struct Path {
    kube: Kube,
    path: String,
    index: usize,
    sender: UnboundedSender<(usize, News)>,
}

impl Path {
    fn tell(&self, news: News) {
        // Whoever has dropped the follower stops us in a moment.
        let _gone = self.sender.send((self.index, news));
    }

    async fn follow(&self) {
        loop {
            match self.kube.list(&self.path).await {
                Ok(list) => {
                    self.tell(News::Listed(list.items));
                    self.watch(list.version).await;
                }
                Err(trouble) => self.lost(trouble).await,
            }
        }
    }

    /// Until it has to be listed again.
    async fn watch(&self, mut version: String) {
        loop {
            let mut watch = match self.kube.watch(&self.path, &version).await {
                Ok(watch) => watch,
                Err(Trouble::Refused { code: 410, .. }) => return,
                Err(trouble) => {
                    self.lost(trouble).await;
                    continue;
                }
            };
            self.tell(News::Answers);
            loop {
                let (object, news): (_, fn(Value) -> News) = match watch.next().await {
                    Ok(Some(Change::Seen(object))) => (object, News::Seen),
                    Ok(Some(Change::Gone(object))) => (object, News::Gone),
                    Ok(Some(Change::Bookmark(newer))) => {
                        version = newer;
                        continue;
                    }
                    Ok(Some(Change::Expired)) => return,
                    // Ended by the server or by silence: asking again tells whether it is still there.
                    Ok(None) => break,
                    Err(trouble) => {
                        self.lost(trouble).await;
                        break;
                    }
                };
                if let Some(newer) = object["metadata"]["resourceVersion"].as_str() {
                    version = newer.to_owned();
                }
                self.tell(news(object));
            }
        }
    }

    async fn lost(&self, trouble: Trouble) {
        self.tell(News::Lost(trouble));
        tokio::time::sleep(AGAIN).await;
    }
}
