//! A headless Chromium.

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder, Locator};
use http::Method;
use rustix::process::Signal;
use serde_json::{Map, Value, json};

use crate::support::folder::Folder;
use crate::support::ports::free_port;
use crate::support::programs::find_or_skip;
use crate::support::server::Server;
use crate::support::waiting::found;

/// A tab of a Chromium of its own.
pub struct Browser {
    client: Client,
    // Ends after the client.
    _driver: Server,
}

/// A command that is not in the WebDriver standard.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(
        &self,
        base: &url::Url,
        session: Option<&str>,
    ) -> Result<url::Url, url::ParseError> {
        base.join(&format!(
            "session/{}/{}",
            session.unwrap_or_default(),
            self.path
        ))
    }

    fn method_and_body(&self, _: &url::Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}

impl Browser {
    /// Starts a browser. `None` if there is none on this machine, which is printed.
    pub async fn start() -> Option<Self> {
        let (chromium, chromedriver) = (find_or_skip("chromium")?, find_or_skip("chromedriver")?);
        let port = free_port();
        let folder = Folder::new("chromium", None, "TERM");
        let profile = format!("--user-data-dir={}", folder.join("profile").display());
        let arguments = vec![OsString::from(format!("--port={port}"))];
        let command = (chromedriver, arguments);
        let mut driver = Server::new("chromedriver", folder, Signal::TERM, command);
        driver.start(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());

        let arguments = [
            "--headless=new",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            // Chromium's own sandbox does not work for root.
            "--no-sandbox",
            "--no-first-run",
            "--window-size=1400,1000",
            &profile,
        ];
        let capabilities = json!({
            "goog:chromeOptions": { "binary": chromium, "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let capabilities: Map<_, _> = capabilities.as_object().expect("an object").clone();
        let mut builder =
            ClientBuilder::new(hyper_util::client::legacy::connect::HttpConnector::new());
        let address = format!("http://127.0.0.1:{port}/");
        let client = builder.capabilities(capabilities).connect(&address).await;
        let client = client.unwrap_or_else(|error| panic!("{error}\n{}", driver.log()));
        Some(Self {
            client,
            _driver: driver,
        })
    }

    pub async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("the page opens");
    }

    pub async fn address(&self) -> String {
        self.client.current_url().await.expect("a page").to_string()
    }

    pub async fn reload(&self) {
        self.client.refresh().await.expect("the page opens again");
    }

    /// Ends the browser. Without this it ends with its driver.
    pub async fn close(self) {
        self.client.close().await.expect("the browser ends");
    }

    /// The result of a script.
    pub async fn run(&self, script: &str) -> Value {
        let result = self.client.execute(script, Vec::new()).await;
        result.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The text that a person sees.
    pub async fn text(&self) -> String {
        let text = self.run("return document.body.innerText").await;
        text.as_str().expect("a text").replace('\u{a0}', " ")
    }

    /// Waits until the visible text has all of these.
    pub async fn sees(&self, texts: &[&str]) -> String {
        let what = format!("{texts:?} on the page");
        found(&what, async || {
            let text = self.text().await;
            match texts.iter().all(|part| text.contains(part)) {
                true => Ok(text),
                false => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    Err(text)
                }
            }
        })
        .await
    }

    /// Types into a field, and presses Enter.
    pub async fn enter(&self, field: &str, text: &str) {
        let field = self.client.find(Locator::Css(field)).await;
        let field = field.expect("a field");
        field.send_keys(text).await.expect("typed");
        field.send_keys("\u{e007}").await.expect("Enter");
    }

    async fn extension(&self, path: &'static str, body: Value) -> Value {
        let command = Extension { path, body };
        let answer = self.client.issue_cmd(command).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Calls a method of the DevTools protocol.
    pub async fn devtools(&self, method: &str, parameters: Value) {
        let body = json!({ "cmd": method, "params": parameters });
        self.extension("goog/cdp/execute", body).await;
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let log = self.extension("se/log", json!({ "type": kind })).await;
        log.as_array().expect("an array").clone()
    }

    /// What the console has complained about since the last call, such as a violation of the page's policy.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.log("browser").await.into_iter();
        let messages = log.map(|entry| entry["message"].as_str().unwrap_or_default().to_owned());
        messages.collect()
    }

    /// The addresses that were requested since the last call.
    pub async fn requests(&self) -> Vec<String> {
        let log = self.log("performance").await.into_iter();
        let requests = log.filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &message["message"];
            let is_request = message["method"] == "Network.requestWillBeSent";
            let url = message["params"]["request"]["url"].as_str()?;
            // The browser's own first tab.
            let is_own = url.starts_with("chrome:");
            (is_request && !is_own).then(|| url.to_owned())
        });
        requests.collect()
    }
}
