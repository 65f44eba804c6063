//! What looks like a secret and is none: a scanner that names one of these costs people their time.

use super::planted::Planted;
use crate::material::random::{BASE64, Random, base64};

/// All of them, in the order of their files.
pub fn all(random: &mut Random) -> Vec<Planted> {
    [
        hashes(random),
        identifiers(random),
        data(random),
        public(random),
        placeholders(),
        references(),
        words(),
        examples(),
    ]
    .concat()
}

/// Checksums of packages and files.
fn hashes(r: &mut Random) -> Vec<Planted> {
    let mut sri = || format!("sha512-{}==", r.text(BASE64, 86));
    let [npm, yarn] = [sri(), sri()];
    vec![
        ("checksum of a crate", "Cargo.lock", format!("checksum = \"{}\"", r.hex(64))),
        ("hash of a wheel", "poetry.lock", {
            format!("    {{file = \"a-1.0-py3-none-any.whl\", hash = \"sha256:{}\"}},", r.hex(64))
        }),
        ("hash of a wheel", "requirements.txt", format!("tokenizers==0.21.0 --hash=sha256:{}", r.hex(64))),
        ("hash of a wheel", "uv.lock", format!("sdist = {{ url = \"x\", hash = \"sha256:{}\", size = 1 }}", r.hex(64))),
        ("integrity of a package", "package-lock.json", format!("      \"integrity\": \"{npm}\",")),
        ("integrity of a package", "yarn.lock", format!("  integrity {yarn}")),
        ("sum of a module", "go.sum", format!("example.com/secret v1.2.3 h1:{}=", r.text(BASE64, 43))),
        ("integrity of a script", "web/base.html", {
            format!("<script src=\"/app.js\" integrity=\"sha384-{}\"></script>", r.text(BASE64, 64))
        }),
        ("digest of an image", "docker/base.Dockerfile", format!("FROM python:3.12-slim@sha256:{}", r.hex(64))),
        ("md5 of a file", "data/checksums.md5", format!("{}  tokens.csv", r.hex(32))),
        ("hash of a cache", "web/manifest.json", format!("  \"token.js\": \"token.{}.js\",", r.hex(20))),
        ("hash of a key", "docs/keys.md", format!("Fingerprint: SHA256:{}", r.text(BASE64, 43))),
    ]
}

/// Names that machines gave.
fn identifiers(r: &mut Random) -> Vec<Planted> {
    vec![
        ("UUID", "tests/data/users.json", format!("  {{\"id\": \"{}\", \"name\": \"Ada\"}},", r.uuid())),
        ("UUID", "src/ids.py", format!("NAMESPACE = UUID(\"{}\")", r.uuid())),
        ("UUID of a request", "tests/test_log.py", format!("    request_id = \"{}\"", r.uuid())),
        ("SHA of git", ".github/workflows/ci.yml", format!("      - uses: actions/checkout@{} # v4", r.hex(40))),
        ("SHA of git", ".pre-commit-config.yaml", format!("    rev: {}", r.hex(40))),
        ("SHA of git", "docs/changes.md", format!("- Fixed the token refresh ({})", r.hex(40))),
        ("SHA of git", "src/version.rs", format!("pub const COMMIT: &str = \"{}\";", r.hex(40))),
        ("number of an account", "infra/accounts.tf", {
            format!("  role_arn = \"arn:aws:iam::{}:role/deploy\"", r.text("123456789", 12))
        }),
        ("id of a trace", "docs/tracing.md", format!("traceparent: 00-{}-{}-01", r.hex(32), r.hex(16))),
        ("Sentry address", "src/errors.py", { format!("DSN = \"https://{}@o1.ingest.example.com/2\"", r.hex(32)) }),
        ("ETag", "tests/data/answer.txt", format!("ETag: \"{}\"", r.hex(32))),
    ]
}

/// Long runs of characters that mean a picture, a font, or code.
fn data(r: &mut Random) -> Vec<Planted> {
    vec![
        ("picture in CSS", "web/style.css", {
            format!(".a {{ background: url(data:image/png;base64,iVBORw0KGgo{}=); }}", r.text(BASE64, 400))
        }),
        (
            "picture in Markdown",
            "docs/picture.md",
            format!("![key](data:image/gif;base64,R0lGODlh{})", r.text(BASE64, 300)),
        ),
        ("font in CSS", "web/font.css", format!("src: url(data:font/woff2;base64,d09GMgAB{})", r.text(BASE64, 600))),
        ("picture in a notebook", "notebooks/plot.ipynb", {
            format!("      \"image/png\": \"iVBORw0KGgo{}=\\n\",", r.text(BASE64, 800))
        }),
        ("minified code", "web/vendor.min.js", {
            let part = |n: usize| {
                let (a, b) = (r.word(2), r.word(3));
                format!("var _{a}{n}=function(e,t){{return e.token=t.key,e.{b}=!0,\"{b}\"+t}};")
            };
            (0..600).map(part).collect()
        }),
        ("source map", "web/app.js.map", format!("{{\"mappings\":\"{}\"}}", r.text("ABCDEFGHIJKLabcdefgh,;", 900))),
        ("dump of bytes", "docs/dump.txt", format!("00000010  {}", r.hex(32))),
        ("ciphertext", "k8s/sealed.yaml", {
            format!("kind: SealedSecret\nspec:\n  encryptedData:\n    password: AgB{}", r.text(BASE64, 300))
        }),
        ("ciphertext", "config/vault.yml", {
            format!(
                "password: ENC[AES256_GCM,data:{}==,iv:{}=,tag:{}==,type:str]",
                r.text(BASE64, 22),
                r.text(BASE64, 43),
                r.text(BASE64, 22)
            )
        }),
        ("ciphertext", "config/ansible.yml", format!("$ANSIBLE_VAULT;1.1;AES256\n{}\n{}", r.hex(80), r.hex(80))),
        ("configuration in base64", "k8s/map.yaml", {
            let text = base64(b"log_level: info and some more words that are not secret");
            format!("kind: ConfigMap\nbinaryData:\n  app.yaml: {text}")
        }),
    ]
}

/// Halves of keys that everybody may have.
fn public(r: &mut Random) -> Vec<Planted> {
    let block =
        |r: &mut Random, what: &str| format!("-----BEGIN {what}-----\n{}\n-----END {what}-----", r.lines(6, "\n"));
    vec![
        (
            "public key",
            "keys/deploy.pub",
            format!("ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAB{} ada@host", r.text(BASE64, 344)),
        ),
        (
            "public key",
            ".ssh/known_hosts",
            format!("git.example.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{}", r.text(BASE64, 43)),
        ),
        ("public key", "keys/token.pem", block(r, "PUBLIC KEY")),
        ("certificate", "certs/ca.pem", block(r, "CERTIFICATE")),
        ("public key", "release/key.asc", block(r, "PGP PUBLIC KEY BLOCK")),
        ("publishable key", "web/pay.js", format!("const stripe = Stripe('pk_live_{}');", r.word(24))),
        ("id of a client", "web/login.js", {
            format!(
                "const clientId = '{}-{}.apps.example.com';",
                r.text("123456789", 12),
                r.text("abcdefghijklmnopqrstuvwxyz0123456789", 32)
            )
        }),
        ("key of a site", "web/form.html", format!("<div data-sitekey=\"6L{}\"></div>", r.word(38))),
    ]
}

fn plain(of: &[(&'static str, &'static str, &str)]) -> Vec<Planted> {
    of.iter().map(|(kind, path, text)| (*kind, *path, (*text).to_owned())).collect()
}

/// What stands where a secret will be.
fn placeholders() -> Vec<Planted> {
    plain(&[
        ("placeholder", ".env.example", "DB_PASSWORD=changeme"),
        ("placeholder", ".env.example", "API_KEY=your-api-key-here"),
        ("placeholder", ".env.example", "SECRET_KEY=replace-me-in-production"),
        ("placeholder", ".env.example", "TOKEN=<your token>"),
        ("placeholder", "docs/setup.md", "export GITHUB_TOKEN=ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"),
        ("placeholder", "docs/setup.md", "password: \"********\""),
        ("placeholder", "docs/setup.md", "Authorization: Bearer YOUR_ACCESS_TOKEN"),
        ("placeholder", "docs/setup.md", "curl -H \"Authorization: Bearer $TOKEN\" https://api.example.com"),
        ("placeholder", "config/empty.yaml", "password: \"\""),
        ("placeholder", "config/empty.yaml", "client_secret: null"),
        ("placeholder", "config/dummy.toml", "api_key = \"XXXXXXXXXXXXXXXXXXXXXXXX\""),
        ("placeholder", "config/dummy.toml", "secret = \"insert-your-secret-here\""),
    ])
}

/// Where a secret comes from, in place of the secret.
fn references() -> Vec<Planted> {
    plain(&[
        ("reference", "compose.override.yaml", "      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?not set}"),
        ("reference", "compose.override.yaml", "      DATABASE_URL: postgres://app:${DB_PASSWORD}@db:5432/app"),
        (
            "reference",
            "charts/templates/secret.yaml",
            "kind: Secret\ndata:\n  password: {{ .Values.password | b64enc | quote }}",
        ),
        (
            "reference",
            "charts/templates/app.yaml",
            "      secretKeyRef:\n        name: app-database-credentials\n        key: password",
        ),
        ("reference", "src/config.py", "API_KEY = os.environ[\"SERVICE_API_KEY_V2\"]"),
        ("reference", "src/config.py", "password = getpass.getpass(\"Password of the database: \")"),
        ("reference", "src/config.py", "token = secrets.token_urlsafe(32)"),
        ("reference", "src/config.py", "url = f\"postgres://{user}:{password}@{host}/{name}\""),
        ("reference", "src/config.js", "const apiKey = process.env.PAYMENT_API_KEY_2024;"),
        ("reference", "src/Config.java", "String password = System.getenv(\"DB_PASSWORD_READONLY\");"),
        ("reference", "src/config.go", "token := os.Getenv(\"GITHUB_TOKEN_READONLY\")"),
        ("reference", "src/config.rs", "let password = std::env::var(\"PASSWORD_OF_REDIS\")?;"),
        ("reference", ".github/workflows/release.yml", "          password: ${{ secrets.PYPI_API_TOKEN_2024 }}"),
        ("reference", "scripts/login.sh", "PASSWORD=\"$(cat /run/secrets/db_password)\""),
        ("reference", "scripts/login.sh", "curl -u \"$USER_NAME:$PASSWORD\" https://api.example.com"),
        ("reference", "infra/db.tf", "  password = random_password.database_main_2.result"),
        ("reference", "infra/db.tf", "  secret_id = data.aws_secretsmanager_secret_version.db_v2.id"),
    ])
}

/// Names and texts about secrets.
fn words() -> Vec<Planted> {
    plain(&[
        ("word", "src/auth.py", "password: SecretStr = Field(min_length=12)"),
        ("word", "src/auth.py", "token = tokenizer.next_token(position=cursor)"),
        ("word", "src/auth.py", "password_hash = bcrypt.hashpw(password, bcrypt.gensalt())"),
        ("word", "src/auth.py", "API_KEY_HEADER = \"X-Service-Api-Key\""),
        ("word", "src/auth.py", "TOKEN_URL = \"https://login.example.com/oauth2/v2.0/token\""),
        ("word", "src/auth.py", "SECRET_NAME = \"projects/example-prod-1/secrets/database\""),
        ("word", "src/auth.py", "cache_key = \"user:settings:notifications:v2\""),
        ("word", "src/form.ts", "const passwordField = 'input[name=password_2]';"),
        ("word", "src/form.ts", "const primaryKey: keyof Row = 'customer_identifier_2';"),
        ("word", "src/form.ts", "const passwordPattern = /^(?=.*[A-Z])(?=.*[0-9]).{12,}$/;"),
        ("word", "locale/de.json", "  \"password\": \"Passwort eingeben\","),
        ("word", "locale/en.json", "  \"error.password\": \"Password2 must match the first one\","),
        ("word", "tests/test_auth.py", "def test_token_and_password_are_rejected_after_3_attempts():"),
        ("word", "src/query.sql", "SELECT api_key_id, token_count FROM usage ORDER BY sort_key_1;"),
        ("word", "monitoring/rules.yml", "  - alert: ApiTokenExpiresWithin14Days"),
        ("word", "charts/defaults.yaml", "existingSecret: forge-redis-credentials-v2"),
    ])
}

/// Values of documents and of services that live as long as one test.
fn examples() -> Vec<Planted> {
    // The pieces make one key that the documents of AWS use everywhere.
    let aws = ["AKIA", "IOSFODNN7", "EXAMPLE"].concat();
    let mut examples = plain(&[
        ("example", "docs/database.md", "postgres://user:password@localhost:5432/example"),
        ("example", "docs/database.md", "redis://localhost:6379/0"),
        ("example", "docs/database.md", "https://username:password@example.com/path"),
        ("example", "docs/database.md", "mongodb://<user>:<password>@host/db"),
        ("example", "tests/conftest.py", "URL = \"postgresql://postgres:postgres@localhost:5432/test\""),
        ("example", "tests/conftest.py", "client = Client(base_url=\"http://test\", api_key=\"test-key\")"),
        ("example", "compose.test.yaml", "      POSTGRES_PASSWORD: postgres"),
        ("example", "compose.test.yaml", "      MYSQL_ROOT_PASSWORD: root"),
    ]);
    examples.push(("example", "docs/aws.md", format!("aws_access_key_id = {aws}")));
    examples
}
