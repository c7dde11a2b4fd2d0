import { type Environment, type Home, locate } from "@valetkey/client/Home"
import { flowTtl } from "@valetkey/domain/Flows"
import type { RedemptionCap } from "@valetkey/domain/Pacing"
import { refreshAhead } from "@valetkey/domain/RefreshAhead"
import { usedWithin } from "@valetkey/domain/Renewal"
import { receiptRetention } from "@valetkey/domain/Revocations"
import { parseEndpoints } from "@valetkey/egress/AddressPolicy"
import { Config, ConfigProvider, Duration, Effect, Option, Redacted, Result, Schema } from "effect"
import { type VariableName, variables } from "./Variables.ts"
import type { WorkloadFile } from "./WorkloadFiles.ts"

/** Error of the configuration. It names the variable and what was expected, never the value. */
export class SettingsError extends Schema.TaggedError<SettingsError>("valetkey/server/SettingsError")("SettingsError", {
  code: Schema.Literals(["listener_missing", "setting_conflict", "setting_invalid", "setting_missing"]),
  variable: Schema.String
}) {
  override get message() {
    const expected = variables.find(({ name }) => name === this.variable)?.expected ?? "another value"
    switch (this.code) {
      case "listener_missing":
        return `${this.variable} leads nowhere, because this server listens to its socket alone: set VALETKEY_PUBLIC_LISTEN for the pages of browsers, or VALETKEY_LISTEN for these and the API`
      case "setting_conflict":
        return `${this.variable} is one source of the root keys and another one is set as well: set one of ${
          keySources.join(", ")
        }`
      case "setting_invalid":
        return `${this.variable} is not understood: expected ${expected}`
      case "setting_missing":
        return `${this.variable} must be set for what is configured: expected ${expected}`
    }
  }
}

/** A TCP address to listen on; port 0 lets the system choose. */
export interface ListenAddress {
  readonly host: string
  readonly port: number
}

/** How callers of the server profile prove who they are: tokens of one issuer for one audience, by one kind of key. */
export interface JwtSettings {
  readonly issuer: string
  readonly audience: string
  readonly key: { readonly _tag: "secret"; readonly secret: Redacted.Redacted } | {
    readonly _tag: "jwks"
    readonly url: string
  }
}

/** Which transit key of Vault wraps the root keys, and how Vault is reached. */
export interface VaultSettings {
  readonly address: string
  readonly mount: string
  readonly key: string
  readonly namespace: string | undefined
  readonly context: string | undefined
  readonly tokenFile: string
}

/** Where the root keys come from. */
export type KeySettings =
  | { readonly _tag: "text"; readonly text: Redacted.Redacted }
  | { readonly _tag: "file"; readonly path: string }
  | { readonly _tag: "descriptor"; readonly descriptor: number }
  | { readonly _tag: "wrapped"; readonly text: Redacted.Redacted; readonly vault: VaultSettings }

/** Where telemetry goes. */
export interface TelemetrySettings {
  readonly endpoint: string
  readonly headers: ReadonlyArray<readonly [name: string, value: Redacted.Redacted]>
  readonly serviceName: string
}

/** What both profiles have. */
interface Common {
  readonly home: Home
  /** Undefined where the profile's own source is meant. */
  readonly keys: KeySettings | undefined
  readonly instanceId: string | undefined
  readonly publicListen: ListenAddress | undefined
  readonly adminListen: ListenAddress | undefined
  readonly publicUrl: string | undefined
  readonly clientMetadataUrl: string | undefined
  readonly returnUrls: ReadonlyArray<string>
  readonly allowEgress: ReadonlyArray<string>
  readonly redemptionCaps: ReadonlyArray<RedemptionCap>
  readonly workloadTokens: ReadonlyArray<WorkloadFile>
  readonly refreshAhead: Duration.Duration
  readonly refreshUsedWithin: Duration.Duration
  readonly flowTtl: Duration.Duration
  /** Whether people may consent on another device. */
  readonly deviceFlow: boolean
  readonly auditRetention: Duration.Duration
  readonly receiptRetention: Duration.Duration
  readonly deletionPatience: Duration.Duration
  /** Whether new secrets are sealed under a data key of their tenant. */
  readonly tenantKeys: boolean
  readonly logFormat: "logfmt" | "json"
  readonly telemetry: TelemetrySettings | undefined
  readonly logLevel: "Trace" | "Debug" | "Info" | "Warn" | "Error"
  readonly readyLine: boolean
}

/** The decoded configuration. */
export type Settings =
  | Common & { readonly profile: "local"; readonly listen: ListenAddress | undefined }
  | Common & {
    readonly profile: "server"
    readonly databaseUrl: Redacted.Redacted
    readonly listen: ListenAddress
    readonly jwt: JwtSettings
  }

/** Decodes the configuration from the environment; the first variable that is wrong or missing is the error. */
export const load = (env: Environment): Effect.Effect<Settings, SettingsError> =>
  Effect.gen(function*() {
    const common: Common = {
      home: locate(env),
      keys: yield* keys,
      instanceId: yield* optional("VALETKEY_INSTANCE_ID", schema(InstanceId)),
      publicListen: yield* optional("VALETKEY_PUBLIC_LISTEN", parsed(parseAddress)),
      adminListen: yield* optional("VALETKEY_ADMIN_LISTEN", parsed(parseAddress)),
      publicUrl: yield* optional("VALETKEY_PUBLIC_URL", parsed(parsePublicUrl)),
      clientMetadataUrl: yield* optional("VALETKEY_CLIENT_METADATA_URL", parsed(parseDocumentUrl)),
      returnUrls: (yield* optional("VALETKEY_RETURN_URLS", parsed(parseReturnUrls))) ?? [],
      allowEgress: (yield* optional("VALETKEY_ALLOW_EGRESS", parsed(parseAllowed))) ?? [],
      redemptionCaps: (yield* optional("VALETKEY_REDEMPTION_CAPS", parsed(parseCaps))) ?? [],
      workloadTokens: (yield* optional("VALETKEY_WORKLOAD_TOKENS", parsed(parseWorkloads))) ?? [],
      refreshAhead: (yield* optional("VALETKEY_REFRESH_AHEAD", parsed(parseAhead))) ?? refreshAhead,
      refreshUsedWithin: (yield* optional("VALETKEY_REFRESH_USED_WITHIN", parsed(parsePatience))) ?? usedWithin,
      flowTtl: (yield* optional("VALETKEY_FLOW_TTL", parsed(parseTtl))) ?? flowTtl,
      deviceFlow: (yield* optional("VALETKEY_DEVICE_FLOW", Config.Boolean)) ?? true,
      auditRetention: (yield* optional("VALETKEY_AUDIT_RETENTION", parsed(parseRetention))) ?? Duration.days(365),
      receiptRetention: (yield* optional("VALETKEY_REVOCATION_RETENTION", parsed(parseRetention))) ?? receiptRetention,
      deletionPatience: (yield* optional("VALETKEY_DELETION_PATIENCE", parsed(parsePatience))) ?? Duration.hours(1),
      tenantKeys: (yield* optional("VALETKEY_TENANT_KEYS", Config.Boolean)) ?? false,
      logFormat: (yield* optional("VALETKEY_LOG_FORMAT", schema(Schema.Literals(["logfmt", "json"])))) ?? "logfmt",
      telemetry: yield* telemetry,
      logLevel: levels[
        (yield* optional("VALETKEY_LOG_LEVEL", schema(Schema.Literals(["trace", "debug", "info", "warn", "error"])))) ??
          "info"
      ],
      readyLine: (yield* optional("VALETKEY_READY_LINE", Config.Boolean)) ?? false
    }
    const listen = yield* optional("VALETKEY_LISTEN", parsed(parseAddress))
    const databaseUrl = yield* optional("DATABASE_URL", parsed(parseDatabaseUrl))
    if (databaseUrl === undefined) {
      // Every link for a browser would begin with it.
      if (common.publicUrl !== undefined && listen === undefined && common.publicListen === undefined) {
        return yield* new SettingsError({ code: "listener_missing", variable: "VALETKEY_PUBLIC_URL" })
      }
      return { ...common, profile: "local", listen } as const
    }
    return {
      ...common,
      profile: "server",
      databaseUrl,
      listen: listen ?? { host: "127.0.0.1", port: 8080 },
      jwt: {
        key: yield* jwtKey,
        issuer: yield* required("VALETKEY_JWT_ISSUER", Config.NonEmptyString),
        audience: yield* required("VALETKEY_JWT_AUDIENCE", Config.NonEmptyString)
      }
    } as const
  }).pipe(Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromEnvRecord(env)))

// Names that a URL takes as they are, and no dots that would lead elsewhere in it.
const VaultName = Schema.String.check(Schema.isPattern(/^\w([\w.-]{0,126}\w)?$/))
const VaultPath = Schema.String.check(Schema.isPattern(/^\w([\w.-]{0,62}\w)?(\/\w([\w.-]{0,62}\w)?){0,8}$/))

const InstanceId = Schema.String.check(Schema.isPattern(/^[A-Za-z0-9._-]{1,64}$/))

const levels = { trace: "Trace", debug: "Debug", info: "Info", warn: "Warn", error: "Error" } as const

/** Undefined when the variable is not set or empty. What the decoder says stays here: it quotes the value. */
const optional = <A>(name: VariableName, config: (name: string) => Config.Config<A>) =>
  Config.option(config(name)).pipe(
    Effect.mapError(() => new SettingsError({ code: "setting_invalid", variable: name })),
    Effect.map(Option.getOrUndefined)
  )

const required = <A>(name: VariableName, config: (name: string) => Config.Config<A>) =>
  Effect.flatMap(
    optional(name, config),
    (value) =>
      value === undefined
        ? Effect.fail(new SettingsError({ code: "setting_missing", variable: name }))
        : Effect.succeed(value)
  )

const schema = <A>(codec: Schema.Codec<A, string>) => (name: string): Config.Config<A> => Config.schema(codec, name)

/** A text that `parse` turns into a value, or into undefined when it is wrong. */
const parsed = <A>(parse: (text: string) => A | undefined) => (name: string): Config.Config<A> =>
  Config.mapEffect(Config.NonEmptyString(name), (text) => {
    const value = parse(text)
    return value === undefined
      ? Effect.fail(new Config.ConfigError(new ConfigProvider.SourceError({ message: "malformed" })))
      : Effect.succeed(value)
  })

const keySources = ["VALETKEY_KEYS", "VALETKEY_KEYS_FILE", "VALETKEY_KEYS_FD", "VALETKEY_KEYS_WRAPPED"] as const

const keys = Effect.gen(function*() {
  const text = yield* optional("VALETKEY_KEYS", Config.Redacted)
  const path = yield* optional("VALETKEY_KEYS_FILE", Config.NonEmptyString)
  const descriptor = yield* optional("VALETKEY_KEYS_FD", parsed(parseDescriptor))
  const wrapped = yield* optional("VALETKEY_KEYS_WRAPPED", Config.Redacted)
  const set = [text, path, descriptor, wrapped].flatMap((value, index) => value === undefined ? [] : [index])
  if (set.length > 1) {
    return yield* new SettingsError({ code: "setting_conflict", variable: keySources[set.at(-1)!]! })
  }
  if (text !== undefined) return { _tag: "text", text } as const
  if (path !== undefined) return { _tag: "file", path } as const
  if (descriptor !== undefined) return { _tag: "descriptor", descriptor } as const
  return wrapped === undefined ? undefined : { _tag: "wrapped", text: wrapped, vault: yield* vault } as const
})

const vault = Effect.gen(function*() {
  return {
    address: yield* required("VALETKEY_VAULT_ADDR", parsed(parseVault)),
    mount: (yield* optional("VALETKEY_VAULT_MOUNT", schema(VaultPath))) ?? "transit",
    key: yield* required("VALETKEY_VAULT_KEY", schema(VaultName)),
    namespace: yield* optional("VALETKEY_VAULT_NAMESPACE", schema(VaultPath)),
    context: yield* optional("VALETKEY_VAULT_CONTEXT", schema(Schema.String.check(Schema.isMaxLength(256)))),
    tokenFile: yield* required("VALETKEY_VAULT_TOKEN_FILE", Config.NonEmptyString)
  }
})

const telemetry = Effect.gen(function*() {
  const endpoint = yield* optional("OTEL_EXPORTER_OTLP_ENDPOINT", parsed(parseCollector))
  if (endpoint === undefined) return undefined
  return {
    endpoint,
    headers: (yield* optional("OTEL_EXPORTER_OTLP_HEADERS", parsed(parseHeaders))) ?? [],
    serviceName: (yield* optional("OTEL_SERVICE_NAME", Config.NonEmptyString)) ?? "valetkey"
  }
})

const jwtKey = Effect.gen(function*() {
  const secret = yield* optional("VALETKEY_JWT_SECRET", parsed(parseSecret))
  const url = yield* optional("VALETKEY_JWKS_URL", parsed(parseHttpUrl))
  if (secret !== undefined) return { _tag: "secret", secret } as const
  if (url !== undefined) return { _tag: "jwks", url } as const
  return yield* new SettingsError({ code: "setting_missing", variable: "VALETKEY_JWT_SECRET" })
})

function parseAddress(text: string): ListenAddress | undefined {
  const found = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(text)
  const host = found?.[1] ?? found?.[2]
  const port = Number(found?.[3])
  return host === undefined || port > 65_535 ? undefined : { host, port }
}

function parseHttpUrl(text: string): string | undefined {
  const url = URL.parse(text)
  return url !== null && (url.protocol === "https:" || url.protocol === "http:") && url.username === ""
    ? text
    : undefined
}

function parseCollector(text: string): string | undefined {
  const url = URL.parse(text)
  return parseHttpUrl(text) !== undefined && url?.search === "" && url.hash === ""
    ? url.href.replace(/\/+$/, "")
    : undefined
}

function parseHeaders(text: string): TelemetrySettings["headers"] | undefined {
  const headers = text.split(",").map((pair) => {
    const [, name, value] = /^\s*([A-Za-z0-9-]{1,64})=([\x20-\x7E]{1,4096})$/.exec(pair) ?? []
    return name === undefined || value === undefined ? undefined : [name.toLowerCase(), Redacted.make(value)] as const
  })
  return headers.every((header) => header !== undefined) ? headers : undefined
}

// Browsers send credentials and cookies here, so plain http is for this machine alone.
function parsePublicUrl(text: string): string | undefined {
  const url = URL.parse(text)
  if (url === null || url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    return undefined
  }
  return isPrivate(url) ? url.href.replace(/\/+$/, "") : undefined
}

// The spelling is the client id, so it stays.
function parseDocumentUrl(text: string): string | undefined {
  const url = URL.parse(text)
  const isPlain = url !== null && url.username === "" && url.password === "" && url.search === "" && url.hash === ""
  return isPlain && url.protocol === "https:" && url.pathname !== "/" ? text : undefined
}

// Compared to the letter with what a start asks for, so the spelling stays.
function parseReturnUrls(text: string): ReadonlyArray<string> | undefined {
  const urls = text.split(",").map((part) => part.trim()).filter((part) => part !== "")
  return urls.every((text) => {
      const url = URL.parse(text)
      return url !== null && url.username === "" && url.password === "" && !text.includes("#") && isPrivate(url)
    })
    ? urls
    : undefined
}

/** Whether nobody on the way reads along. */
function isPrivate({ hostname, protocol }: URL): boolean {
  return protocol === "https:" ||
    protocol === "http:" && /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname)
}

function parseDescriptor(text: string): number | undefined {
  return /^\d{1,4}$/.test(text) && Number(text) >= 3 && Number(text) <= 1023 ? Number(text) : undefined
}

// The token and the root keys travel there, so plain http is for this machine alone.
function parseVault(text: string): string | undefined {
  const origin = parsePublicUrl(text)
  return origin !== undefined && new URL(origin).pathname === "/" ? origin : undefined
}

function parseDatabaseUrl(text: string): Redacted.Redacted | undefined {
  const protocol = URL.parse(text)?.protocol
  return protocol === "postgres:" || protocol === "postgresql:" ? Redacted.make(text) : undefined
}

// RFC 7518 §3.2: a key of HS256 has at least the size of the hash.
function parseSecret(text: string): Redacted.Redacted | undefined {
  return new TextEncoder().encode(text).length >= 32 ? Redacted.make(text) : undefined
}

function parseAllowed(text: string): ReadonlyArray<string> | undefined {
  return Result.getOrUndefined(parseEndpoints(text))
}

function parseCaps(text: string): ReadonlyArray<RedemptionCap> | undefined {
  const caps = text.split(",").map((part) => part.trim()).filter((part) => part !== "").map((part) => {
    const found = /^(https?:\/\/\S+)=(\d{1,4})$/.exec(part)
    const url = URL.parse(found?.[1] ?? "")
    const cap = Number(found?.[2])
    return url === null || url.username !== "" || url.hash !== "" || !(cap >= 1 && cap <= 1000)
      ? undefined
      : { endpoint: url.pathname === "/" && url.search === "" ? url.origin : url.href, cap }
  })
  return caps.every((cap) => cap !== undefined) ? caps : undefined
}

function parseWorkloads(text: string): ReadonlyArray<WorkloadFile> | undefined {
  const files = text.split(",").map((part) => part.trim()).filter((part) => part !== "").map((part) => {
    const [, tenant, name, path] = /^([^/=]+)\/([a-z0-9][a-z0-9._-]{0,62})=(\/.+)$/.exec(part) ?? []
    return tenant === undefined || name === undefined || path === undefined ? undefined : { tenant, name, path }
  })
  const names = new Set(files.map((file) => `${file?.tenant}/${file?.name}`))
  return files.every((file) => file !== undefined) && names.size === files.length ? files : undefined
}

function parseAhead(text: string): Duration.Duration | undefined {
  const patience = parsePatience(text)
  return patience !== undefined && Duration.isLessThanOrEqualTo(patience, Duration.hours(1)) ? patience : undefined
}

function parseRetention(text: string): Duration.Duration | undefined {
  const found = /^(\d{1,4})\s*(d|days?|y|years?)$/.exec(text.trim())
  if (found === null) return undefined
  const count = Number(found[1]) * (found[2]?.startsWith("y") === true ? 365 : 1)
  return count >= 1 && count <= 3650 ? Duration.days(count) : undefined
}

function parsePatience(text: string): Duration.Duration | undefined {
  const found = /^(\d{1,7})\s*([smhd])$/.exec(text.trim())
  if (found === null) return undefined
  const seconds = Number(found[1]) * { s: 1, m: 60, h: 3600, d: 86_400 }[found[2] as "s"]
  return seconds <= 30 * 86_400 ? Duration.seconds(seconds) : undefined
}

function parseTtl(text: string): Duration.Duration | undefined {
  const found = /^(\d{1,7})\s*(ms|millis|s|seconds?|m|minutes?|h|hours?)?$/.exec(text.trim())
  if (found === null) return undefined
  const unit = found[2] ?? "s"
  const millis = Number(found[1]) *
    (/^(ms|mil)/.test(unit) ? 1 : unit.startsWith("s") ? 1000 : unit.startsWith("m") ? 60_000 : 3_600_000)
  return millis >= 1000 && millis <= 3_600_000 ? Duration.millis(millis) : undefined
}
