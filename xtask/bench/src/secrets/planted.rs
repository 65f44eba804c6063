//! True secrets by their shapes, each put together from random text at run time, and where each is hidden.
//!
//! No line here holds a whole one, so that neither a scanner nor a forge stops at this file.

use crate::material::random::{BASE32, BASE64, BASE64_URL, Random, base64};

/// A call with a login, without its password: with it this file would look like one that holds it.
const CURL: [&str; 2] = ["curl -H", "curl -u admin"];

/// What a secret is, the file that it is in, and the text that holds it: one line or more.
pub type Planted = (&'static str, &'static str, String);

/// All of them, in the order of their files.
pub fn all(random: &mut Random) -> Vec<Planted> {
    [forges(random), clouds(random), services(random), keys(random), addresses(random), passwords(random), odd(random)]
        .concat()
}

/// Tokens of forges and of places where packages lie.
fn forges(r: &mut Random) -> Vec<Planted> {
    vec![
        ("GitHub token", "src/deploy.py", format!("TOKEN = \"ghp_{}\"", r.word(36))),
        ("GitHub fine-grained token", ".github/workflows/deploy.yml", {
            format!("      GH_TOKEN: github_pat_{}_{}", r.word(22), r.word(59))
        }),
        ("GitHub app token", "lib/client.rb", format!("client = Octokit.new(access_token: 'ghs_{}')", r.word(36))),
        ("GitHub token in an address", ".gitmodules", {
            format!("\turl = https://x-access-token:gho_{}@git.example.com/example/private.git", r.word(36))
        }),
        ("GitLab token", ".gitlab-ci.yml", format!("  DEPLOY_TOKEN: glpat-{}", r.word(20))),
        ("PyPI token", ".pypirc", format!("password = pypi-AgEIcHlwaS5vcmc{}", r.text(BASE64_URL, 120))),
        ("npm token", ".npmrc", format!("//npm.example.com/:_authToken=npm_{}", r.word(36))),
        (
            "Docker Hub token",
            "scripts/push",
            format!("echo dckr_pat_{} | docker login -u example", r.text(BASE64_URL, 27)),
        ),
        ("Docker login", ".docker/config.json", {
            let login = base64(format!("deploy:{}", r.word(24)).as_bytes());
            format!("{{\"auths\": {{\"images.example.com\": {{\"auth\": \"{login}\"}}}}}}")
        }),
        ("Terraform Cloud token", ".terraformrc", {
            format!("  token = \"{}.atlasv1.{}\"", r.word(14), r.text(BASE64_URL, 64))
        }),
    ]
}

/// Keys of those who rent out machines.
fn clouds(r: &mut Random) -> Vec<Planted> {
    vec![
        ("AWS key id", ".aws/credentials", format!("aws_access_key_id = AKIA{}", r.text(BASE32, 16))),
        ("AWS secret key", ".aws/credentials", format!("aws_secret_access_key = {}", r.text(BASE64, 40))),
        ("AWS secret key", "infra/main.tf", format!("  secret_key = \"{}\"", r.text(BASE64, 40))),
        ("AWS temporary key id", "notes/session.txt", format!("export AWS_ACCESS_KEY_ID=ASIA{}", r.text(BASE32, 16))),
        ("Google key", "web/index.html", {
            format!("<script src=\"https://maps.example.com/api/js?key=AIza{}\"></script>", r.text(BASE64_URL, 35))
        }),
        ("Google service account", "deploy/service-account.json", {
            let key = pem(r, "", 12, "\\n").replace('\n', "\\n");
            format!("  \"private_key_id\": \"{}\",\n  \"private_key\": \"{key}\\n\",", r.hex(40))
        }),
        ("Azure storage key", "appsettings.json", {
            let key = r.text(BASE64, 86);
            format!("  \"Storage\": \"DefaultEndpointsProtocol=https;AccountName=example;AccountKey={key}==\",")
        }),
        ("Azure client secret", "infra/azure.tfvars", {
            format!("client_secret = \"{}8Q~{}\"", r.word(3), r.word(34))
        }),
        ("DigitalOcean token", "infra/droplet.sh", format!("doctl auth init -t dop_v1_{}", r.hex(64))),
        ("Cloudflare token", "infra/dns.toml", format!("cloudflare_api_token = \"{}\"", r.text(BASE64_URL, 40))),
        ("Heroku key", "Procfile.env", format!("HEROKU_API_KEY={}", r.uuid())),
        ("Vault token", "ops/vault.hcl", format!("token = \"hvs.{}\"", r.text(BASE64_URL, 95))),
        ("Databricks token", "jobs/train.cfg", format!("token = dapi{}", r.hex(32))),
    ]
}

/// Keys of what is paid for by the call.
fn services(r: &mut Random) -> Vec<Planted> {
    vec![
        ("Slack bot token", "config/chat.yaml", {
            let [team, bot] = [12, 13].map(|length| r.text("123456789", length));
            format!("  bot: xoxb-{team}-{bot}-{}", r.word(24))
        }),
        ("Slack webhook", "README.md", {
            let [team, hook] = [9, 9].map(|length| r.text(BASE32, length));
            format!("Tell us at https://hooks.slack.com/services/T{team}/B{hook}/{}", r.word(24))
        }),
        ("Stripe key", "web/checkout.js", format!("const stripe = require('stripe')('sk_live_{}');", r.word(24))),
        ("Stripe restricted key", "tests/test_billing.py", format!("    client = Client(\"rk_live_{}\")", r.word(24))),
        ("OpenAI project key", "src/ask.ts", {
            format!("const key = 'sk-proj-{}T3BlbkFJ{}';", r.text(BASE64_URL, 74), r.text(BASE64_URL, 74))
        }),
        ("OpenAI key", "notebooks/try.ipynb", {
            format!("    \"openai.api_key = 'sk-{}T3BlbkFJ{}'\\n\",", r.word(20), r.word(20))
        }),
        ("Anthropic key", "src/ask.go", format!("\tkey := \"sk-ant-api03-{}AA\"", r.text(BASE64_URL, 93))),
        ("Hugging Face token", "train", format!("huggingface-cli login --token hf_{}", letters(r, 34))),
        ("SendGrid key", "config/mail.php", {
            format!("'key' => 'SG.{}.{}',", r.text(BASE64_URL, 22), r.text(BASE64_URL, 43))
        }),
        ("Twilio key", "src/sms.java", format!("    String key = \"SK{}\";", r.hex(32))),
        ("Datadog key", "charts/values.yaml", format!("datadog:\n  apiKey: {}", r.hex(32))),
        (
            "Telegram bot token",
            "bot/config.ini",
            format!("telegram_token = {}:AA{}", r.text("123456789", 10), r.text(BASE64_URL, 33)),
        ),
        ("Shopify token", "shop/.env.production", format!("SHOPIFY_TOKEN=shpat_{}", r.hex(32))),
        ("Grafana token", "monitoring/import.sh", format!("export GRAFANA=glsa_{}_{}", r.word(32), r.hex(8))),
        ("Linear key", "src/issues.rs", format!("const KEY: &str = \"lin_api_{}\";", r.word(40))),
        ("New Relic key", "newrelic.ini", format!("license = NRAK-{}", r.text(BASE32, 27))),
        ("Postman key", "docs/api.rst", format!("   X-Api-Key: PMAK-{}-{}", r.hex(24), r.hex(34))),
        ("Doppler token", "Makefile", format!("DOPPLER := dp.pt.{}", r.word(43))),
        ("Pulumi token", "infra/Pulumi.dev", format!("PULUMI_ACCESS_TOKEN: pul-{}", r.hex(40))),
    ]
}

/// Private keys.
fn keys(r: &mut Random) -> Vec<Planted> {
    vec![
        ("RSA private key", "deploy/id_rsa", pem(r, "RSA ", 24, "\n")),
        ("EC private key", "certs/server.pem", pem(r, "EC ", 3, "\n")),
        ("OpenSSH private key", "tests/fixtures/id_ed25519", pem(r, "OPENSSH ", 6, "\n")),
        (
            "private key in one string",
            "src/sign.py",
            format!("KEY = \"{}\"", pem(r, "", 16, "\\n").replace('\n', "\\n")),
        ),
        ("private key in YAML", "config/tls.yaml", {
            format!("tls:\n  key: |\n    {}", pem(r, "", 16, "\n").replace('\n', "\n    "))
        }),
        ("PGP private key", "release/signing.asc", pem(r, "PGP ", 20, "\n").replace("KEY-", "KEY BLOCK-")),
        ("age key", "ops/keys.txt", { format!("AGE-SECRET-KEY-1{}", r.text("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58)) }),
        ("JSON Web Token", "docs/auth.md", {
            let head = base64(br#"{"alg":"HS256","typ":"JWT"}"#).replace('=', "");
            let body = base64(format!(r#"{{"sub":"{}","admin":true}}"#, r.hex(12)).as_bytes()).replace('=', "");
            format!("    {head}.{body}.{}", r.text(BASE64_URL, 43))
        }),
    ]
}

/// Passwords within an address.
fn addresses(r: &mut Random) -> Vec<Planted> {
    vec![
        (
            "PostgreSQL address",
            ".env",
            format!("DATABASE_URL=postgres://forge:{}@db.example.com:5432/forge", r.word(20)),
        ),
        ("PostgreSQL address", "alembic.ini", {
            format!("sqlalchemy.url = postgresql+psycopg://forge:{}@db.internal/forge", human(r))
        }),
        ("Redis address", "config/cache.yml", format!("  url: redis://:{}@cache.example.com:6379/0", r.word(24))),
        ("MongoDB address", "server/db.js", {
            format!("mongoose.connect('mongodb+srv://app:{}@cluster0.example.net/app');", r.word(18))
        }),
        ("MySQL address", "src/application.properties", {
            format!("db.url=mysql://root:{}@mysql.internal:3306/app", r.word(16))
        }),
        ("AMQP address", "compose.yaml", format!("      BROKER: amqp://worker:{}@mq.internal:5672//", r.word(20))),
        ("login in an address", "scripts/fetch.sh", {
            format!("git clone https://builder:{}@git.example.com/team/tool.git", r.word(20))
        }),
    ]
}

/// Passwords that only their names give away.
fn passwords(r: &mut Random) -> Vec<Planted> {
    vec![
        ("password in .env", ".env", format!("DB_PASSWORD={}", r.word(18))),
        ("password in YAML", "config/app.yaml", format!("  password: \"{}\"", r.word(16))),
        ("password of a person in YAML", "config/app.yaml", format!("  admin_password: {}", human(r))),
        ("password in Python", "src/settings.py", format!("PASSWORD = \"{}\"", human(r))),
        ("key of Django", "src/settings.py", {
            format!(
                "SECRET_KEY = 'django-insecure-{}'",
                r.text("abcdefghijklmnopqrstuvwxyz0123456789!@#%^&*(-_=+)", 50)
            )
        }),
        ("password in JSON", "config/db.json", format!("  \"password\": \"{}\",", r.word(14))),
        ("password in a Dockerfile", "Dockerfile", format!("ENV POSTGRES_PASSWORD={}", r.word(16))),
        ("password in a Dockerfile", "docker/worker.Dockerfile", format!("ENV API_SECRET {}", r.word(32))),
        ("password in TOML", "config/app.toml", format!("passwd = \"{}\"", human(r))),
        ("password in XML", "pom-settings.xml", format!("      <password>{}</password>", r.word(18))),
        ("password of a command", "scripts/backup.sh", format!("PGPASSWORD='{}' pg_dump forge", r.word(16))),
        ("Kubernetes Secret", "k8s/secret.yaml", {
            let data = base64(r.word(20).as_bytes());
            format!("apiVersion: v1\nkind: Secret\nmetadata:\n  name: app\ntype: Opaque\ndata:\n  password: {data}")
        }),
        ("Kubernetes Secret in plain text", "k8s/plain.yaml", {
            format!(
                "apiVersion: v1\nkind: Secret\nmetadata:\n  name: app\nstringData:\n  redis-password: {}",
                r.word(20)
            )
        }),
        ("header of a call", "scripts/smoke.sh", {
            format!("{} \"Authorization: Bearer {}\" https://api.example.com/v1/me", CURL[0], r.text(BASE64_URL, 48))
        }),
        ("login of a call", "scripts/smoke.sh", format!("{}:{} https://api.example.com/v1/me", CURL[1], r.word(16))),
        ("login in .netrc", ".netrc", format!("machine git.example.com login builder password {}", r.word(20))),
        ("key in a comment", "src/old.c", format!("/* api_key = \"{}\" */", r.word(32))),
        ("key in a test", "tests/test_api.py", format!("API_KEY = \"{}\"", r.hex(40))),
    ]
}

/// Where scanners do not like to look.
fn odd(r: &mut Random) -> Vec<Planted> {
    let mut token = || format!("ghp_{}", r.word(36));
    let mut planted = vec![
        ("token in a lock file", "package-lock.json", {
            format!("      \"resolved\": \"https://builder:{}@npm.example.com/left-pad.tgz\",", token())
        }),
        (
            "token in a lock file",
            "poetry.lock",
            format!("url = \"https://builder:{}@pypi.example.com/simple\"", token()),
        ),
        ("token in a picture", "web/logo.svg", format!("<!-- token: {} -->", token())),
        ("token in node_modules", "node_modules/own/index.js", format!("module.exports = '{}';", token())),
        ("token in a virtual environment", "env/lib/python3.12/own.py", format!("TOKEN = '{}'", token())),
        ("token beside a mark", "src/marked.py", format!("TOKEN = '{}'  # gitleaks:allow", token())),
        ("token beside a mark", "src/marked.js", {
            format!("const token = '{}'; // pragma: allowlist secret betterleaks:allow", token())
        }),
        ("token in a file named like a configuration", "old/gitleaks.toml.txt", format!("token = '{}'", token())),
        ("token after CRLF", "scripts/run.bat", format!("\r\nset TOKEN={}\r", token())),
        ("token in Latin-1", "docs/gruss.txt", format!("Gr\u{fc}\u{df}e, {}", token())),
    ];
    let token = token();
    let code: String = (0..4000).map(|n| format!("function f{n}(a,b){{return a+b*{n}}};")).collect();
    planted.push(("token in one long line", "web/app.min.js", format!("{code}var t=\"{token}\";{code}")));
    planted
}

/// A private key with so many lines.
fn pem(random: &mut Random, kind: &str, lines: usize, separator: &str) -> String {
    let word = ["PRIVATE", "KEY"].join(" ");
    format!("-----BEGIN {kind}{word}-----\n{}\n-----END {kind}{word}-----", random.lines(lines, separator))
}

fn letters(random: &mut Random, length: usize) -> String {
    random.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", length)
}

/// What a person would think of.
fn human(random: &mut Random) -> String {
    let (one, other) = (["Winter", "Garage", "Purple", "Hamster"], ["Monday", "Kettle", "Rocket", "Marble"]);
    format!("{}{}{}!", random.pick(&one), random.pick(&other), random.text("123456789", 3))
}
