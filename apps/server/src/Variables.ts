/** One environment variable: what `valetkey serve --help` and the README say about it. */
export interface Variable {
  readonly name: string
  /** What holds when it is not set. */
  readonly fallback: string
  /** What a value must look like; completes "expected …". */
  readonly expected: string
  /** What it does. */
  readonly sentence: string
}

const define = <const Name extends string>(name: Name, fallback: string, expected: string, sentence: string) => ({
  name,
  fallback,
  expected,
  sentence
})

/** Every environment variable that the server reads, in the order of the documentation. */
export const variables = [
  define(
    "DATABASE_URL",
    "none: the local profile, with SQLite in VALETKEY_HOME",
    "a postgres:// URL",
    "PostgreSQL 15 or newer; setting it selects the server profile."
  ),
  define(
    "VALETKEY_HOME",
    "the XDG data directory",
    "a directory path",
    "Data, configuration and socket of the local profile."
  ),
  define(
    "VALETKEY_KEYS",
    "local: a key file made on first use; server: none",
    "id:base64 pairs of 32-byte keys, separated by commas",
    "Key ring; the first key seals, all of them open."
  ),
  define(
    "VALETKEY_KEYS_FILE",
    "local: keys in the configuration directory; server: none",
    "a file path",
    "File of the key ring, readable by its owner alone."
  ),
  define(
    "VALETKEY_KEYS_FD",
    "none",
    "a number from 3 to 1023",
    "Descriptor from which the key ring is read once, on first use; it is closed then."
  ),
  define(
    "VALETKEY_KEYS_WRAPPED",
    "none",
    "id:vault:v1:... pairs, separated by commas",
    "Key ring as Vault or OpenBao wrapped it; unwrapped on first use. Needs VALETKEY_VAULT_ADDR, _KEY and _TOKEN_FILE."
  ),
  define(
    "VALETKEY_VAULT_ADDR",
    "none",
    "an https URL without credentials, path and query; http for a loopback host",
    "Where Vault or OpenBao answers."
  ),
  define(
    "VALETKEY_VAULT_KEY",
    "none",
    "letters, digits, '_', '-' and '.'",
    "Name of the transit key that wraps the root keys."
  ),
  define(
    "VALETKEY_VAULT_MOUNT",
    "transit",
    "a path of letters, digits, '_', '-' and '.'",
    "Path of the transit engine."
  ),
  define(
    "VALETKEY_VAULT_NAMESPACE",
    "none",
    "a path of letters, digits, '_', '-' and '.'",
    "Namespace of the transit engine."
  ),
  define(
    "VALETKEY_VAULT_CONTEXT",
    "none",
    "1 to 256 characters",
    "Context of a transit key that was made with derived=true."
  ),
  define(
    "VALETKEY_VAULT_TOKEN_FILE",
    "none",
    "a file path",
    "File of the Vault token, readable by its owner alone; somebody else keeps it fresh. Read at every request."
  ),
  define(
    "VALETKEY_INSTANCE_ID",
    "local: made on first use; server: default",
    "1 to 64 characters of a-z, A-Z, 0-9, '.', '_' or '-'",
    "Names this installation in its database and in every sealed value; a copy of the database must run under another one."
  ),
  define(
    "VALETKEY_LISTEN",
    "local: the socket alone; server: 127.0.0.1:8080",
    "host:port",
    "Where programs call the API."
  ),
  define(
    "VALETKEY_PUBLIC_LISTEN",
    "shares the port of VALETKEY_LISTEN",
    "host:port",
    "Where browsers arrive: connect pages, callbacks and result pages."
  ),
  define(
    "VALETKEY_ADMIN_LISTEN",
    "none",
    "host:port",
    "A port of its own for liveness, readiness and /metrics (Prometheus text). It has no credential: keep it private."
  ),
  define(
    "VALETKEY_PUBLIC_URL",
    "none: the gateway transport refuses to start flows",
    "an https URL without query; http for a loopback host",
    "How browsers reach VALETKEY_PUBLIC_LISTEN or, without it, VALETKEY_LISTEN; local: one of these must be set."
  ),
  define(
    "VALETKEY_CLIENT_METADATA_URL",
    "none: loopback flows register a client",
    "an https URL",
    "A client id metadata document that you publish with the redirect URI http://127.0.0.1/callback; it is the client id of loopback flows where an authorization server reads such documents."
  ),
  define(
    "VALETKEY_RETURN_URLS",
    "none: no start may ask for confirmation by finalize",
    "https URLs without fragment, http for a loopback host, separated by commas",
    "Where browsers may be sent back to applications that finalize flows; `returnTo` must equal one to the letter."
  ),
  define(
    "VALETKEY_JWT_SECRET",
    "none",
    "at least 32 bytes of text",
    "Shared secret of HS256 tokens; this or VALETKEY_JWKS_URL in the server profile."
  ),
  define(
    "VALETKEY_JWKS_URL",
    "none",
    "an http or https URL",
    "Public keys of RS256, ES256 or EdDSA tokens."
  ),
  define("VALETKEY_JWT_ISSUER", "none", "text", "The `iss` that tokens must carry; required in the server profile."),
  define("VALETKEY_JWT_AUDIENCE", "none", "text", "The `aud` that tokens must carry; required in the server profile."),
  define(
    "VALETKEY_ALLOW_EGRESS",
    "none: global addresses alone",
    "host:port entries separated by commas",
    "Endpoints that may be called although their address is not global, or although they speak plain http."
  ),
  define(
    "VALETKEY_REDEMPTION_CAPS",
    "none: no limit",
    "URL=count pairs separated by commas, such as https://as.example=50; a count from 1 to 1000",
    "How many refreshes may be under way at once at a token endpoint, or at all of an origin's, over all replicas and tenants."
  ),
  define(
    "VALETKEY_WORKLOAD_TOKENS",
    "none",
    "tenant/name=path entries separated by commas, such as acme/cluster=/var/run/secrets/tokens/valetkey",
    "Files in which the platform keeps tokens that say who this installation is, each for servers of one tenant with the grant `workload_assertion`."
  ),
  define(
    "VALETKEY_REFRESH_AHEAD",
    "5m",
    "a duration of 0 seconds to 1 hour, such as 90s or 5m",
    "How long before its end a token that is asked for is renewed behind the scenes, at most a fifth of its lifetime; 0s: never."
  ),
  define(
    "VALETKEY_REFRESH_USED_WITHIN",
    "2d",
    "a duration of 0 seconds to 30 days, such as 12h or 7d",
    "How long after its last use a connection is renewed although nobody reads it; 0s: never. A server's refreshAhead decides otherwise."
  ),
  define(
    "VALETKEY_FLOW_TTL",
    "10m",
    "a duration of 1 second to 1 hour, such as 600s or 10m",
    "How long a person has to consent."
  ),
  define(
    "VALETKEY_DEVICE_FLOW",
    "true",
    "true or false",
    "Whether people may consent on another device (RFC 8628). Nothing binds that device to who started."
  ),
  define(
    "VALETKEY_AUDIT_RETENTION",
    "365d",
    "1d to 3650d, or years such as 2y",
    "How long audit events are kept; what is left of a chain still verifies."
  ),
  define(
    "VALETKEY_TENANT_KEYS",
    "false",
    "true or false",
    "Seal what is new under a data key of its tenant, which deleting the tenant destroys. Every replica opens both kinds, whatever is set."
  ),
  define(
    "VALETKEY_DELETION_PATIENCE",
    "1h",
    "a duration of 0 seconds to 30 days, such as 10m, 1h or 2d",
    "How long the deletion of a tenant waits for authorization servers to confirm its revocations."
  ),
  define(
    "VALETKEY_REVOCATION_RETENTION",
    "30d",
    "1d to 3650d, or years such as 2y",
    "How long receipts of revocations are kept after they are settled."
  ),
  define("VALETKEY_LOG_FORMAT", "logfmt", "logfmt or json", "Format of the log on stderr."),
  define(
    "VALETKEY_LOG_LEVEL",
    "info",
    "trace, debug, info, warn or error",
    "The least severe entries that are written."
  ),
  define(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "none: nothing is exported",
    "an http or https URL without credentials and query",
    "Collector that gets traces, metrics and logs over OTLP (HTTP, JSON)."
  ),
  define(
    "OTEL_EXPORTER_OTLP_HEADERS",
    "none",
    "name=value pairs separated by commas",
    "Headers of every export, such as the collector's credential."
  ),
  define("OTEL_SERVICE_NAME", "valetkey", "text", "How this process is called in what it exports."),
  define(
    "VALETKEY_READY_LINE",
    "false",
    "true or false",
    "Print one line of JSON on stdout when the server is ready, for supervisors."
  )
] as const satisfies ReadonlyArray<Variable>

/** The name of an environment variable that the server reads. */
export type VariableName = (typeof variables)[number]["name"]
