import { Effect, Option, Redacted, Schema } from "effect"
import { hash } from "node:crypto"
import { existsSync, readdirSync, readFileSync, renameSync, statSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import { type CliFailure, failure } from "./CliFailure.ts"
import type { Candidate } from "./Importing.ts"
import { slugOf } from "./Words.ts"

// mcp-remote keeps `<base>/mcp-remote-<version>/<hash>_tokens.json` and `<hash>_client_info.json`; the hash is MD5 of the
// URL as it was typed, with `|` and the value of its --resource where there was one.

/** The directory of mcp-remote, as it finds it itself. */
export const usualDirectory = (env: Readonly<Record<string, string | undefined>>): string =>
  env["MCP_REMOTE_CONFIG_DIR"] || join(homedir(), ".mcp-auth")

/** What a tokens file is called once its tokens are ours: mcp-remote does not look there, and a person can put it back. */
const takenSuffix = ".taken-by-valetkey"

const Tokens = Schema.fromJsonString(Schema.Struct({
  refresh_token: Schema.optionalKey(Schema.String),
  token_type: Schema.optionalKey(Schema.String),
  scope: Schema.optionalKey(Schema.String)
}))

const ClientInfo = Schema.fromJsonString(Schema.Struct({
  client_id: Schema.NonEmptyString,
  client_secret: Schema.optionalKey(Schema.String),
  token_endpoint_auth_method: Schema.optionalKey(Schema.String)
}))

/** The connection that mcp-remote holds for a URL. */
export const find = (input: {
  readonly directory: string
  readonly url: string
  readonly resource: string | undefined
  readonly name: string | undefined
}): Effect.Effect<Candidate, CliFailure> =>
  Effect.gen(function*() {
    const url = URL.parse(input.url)
    if (
      url === null || (url.protocol !== "https:" && url.protocol !== "http:") || url.username !== "" ||
      url.password !== ""
    ) {
      return yield* failure("usage", "With --from mcp-remote each argument is the URL that mcp-remote was started with")
    }
    url.hash = ""
    const prefix = newest(input.directory, hashOf(input.url, input.resource))
    if (prefix === undefined) {
      return yield* failure(
        "source_not_found",
        `mcp-remote holds no tokens for ${url.href} in ${input.directory}; the URL must be as it was typed there, and one that was started with --header cannot be found`
      )
    }
    const file = `${prefix}_tokens.json`
    const owner = ownerOf(`${prefix}_lock.json`)
    if (owner !== undefined) {
      return yield* failure(
        "source_in_use",
        `mcp-remote runs for ${url.href} (process ${owner}) and may refresh at any moment; end it first`
      )
    }
    const text = yield* read(file)
    const tokens = yield* decoded(Tokens, text, file)
    const client = existsSync(`${prefix}_client_info.json`)
      ? yield* decoded(ClientInfo, yield* read(`${prefix}_client_info.json`), `${prefix}_client_info.json`)
      : undefined
    if (tokens.refresh_token === undefined || tokens.refresh_token === "" || client === undefined) {
      return yield* failure(
        "source_invalid",
        `${file} has no ${
          client === undefined ? "client beside it" : "refresh token"
        }, so that nothing can be kept alive; connect with: valetkey connect ${url.href}`
      )
    }
    const authMethod = methodOf(client)
    const scopes = tokens.scope?.split(" ").filter((scope) => scope !== "") ?? []
    return {
      server: input.name ?? slugOf(url),
      definition: { resource: url.href },
      deposit: Redacted.make({
        resource: input.resource ?? url.href,
        clientId: client.client_id,
        ...(client.client_secret === undefined || authMethod === "none" ? {} : { clientSecret: client.client_secret }),
        authMethod,
        refreshToken: tokens.refresh_token,
        ...(tokens.token_type === undefined ? {} : { tokenType: tokens.token_type }),
        ...(scopes.length === 0 ? {} : { scopes })
      }),
      source: { file, take: take(file, text) }
    }
  })

/** Moves the tokens file away, if it is still the one that was read. */
const take = (file: string, text: string): Effect.Effect<string, CliFailure> =>
  Effect.gen(function*() {
    if ((yield* read(file)) !== text) {
      return yield* failure(
        "source_changed",
        `${file} was written while it was imported, by a mcp-remote that still runs; end it and remove the file, or both will use one grant`
      )
    }
    const taken = `${file}${takenSuffix}`
    yield* Effect.try({
      try: () => renameSync(file, taken),
      catch: () =>
        failure("source_not_marked", `${file} cannot be renamed; remove it yourself, or both will use one grant`)
    })
    return taken
  })

const hashOf = (url: string, resource: string | undefined): string =>
  hash("md5", [url, ...(resource === undefined ? [] : [resource])].join("|"))

/** The path before `_tokens.json` of the version that wrote its tokens last. */
const newest = (directory: string, name: string): string | undefined => {
  if (!existsSync(directory)) return undefined
  const versions = readdirSync(directory).filter((entry) => entry.startsWith("mcp-remote-"))
  return ["", ...versions]
    .map((version) => join(directory, version, name))
    .flatMap((prefix) => {
      const found = statSync(`${prefix}_tokens.json`, { throwIfNoEntry: false })
      return found === undefined ? [] : [{ prefix, at: found.mtimeMs }]
    })
    .sort((a, b) => b.at - a.at)[0]?.prefix
}

const Lock = Schema.fromJsonString(Schema.Struct({ pid: Schema.Int.check(Schema.isGreaterThan(0)) }))

/** The process of a lock file, if it is alive. */
const ownerOf = (file: string): number | undefined => {
  try {
    const { pid } = Schema.decodeSync(Lock)(readFileSync(file, "utf8"))
    process.kill(pid, 0)
    return pid
  } catch (error) {
    // A process of somebody else is alive too, but it does not use this file.
    return void error
  }
}

const read = (file: string): Effect.Effect<string, CliFailure> =>
  Effect.try({
    try: () => readFileSync(file, "utf8"),
    catch: () => failure("source_invalid", `${file} cannot be read; check its permissions`)
  })

const decoded = <S extends Schema.Codec<unknown, string>>(schema: S, text: string, file: string) =>
  Option.match(Schema.decodeOption(schema as Schema.Codec<S["Type"], string>)(text), {
    onNone: () => Effect.fail(failure("source_invalid", `${file} is not what mcp-remote writes; connect anew instead`)),
    onSome: (value) => Effect.succeed(value)
  })

/** RFC 7591 §2: a client with a secret that names no method has `client_secret_basic`. */
const methodOf = (client: {
  readonly client_secret?: string
  readonly token_endpoint_auth_method?: string
}): "client_secret_basic" | "client_secret_post" | "none" => {
  const { client_secret: secret, token_endpoint_auth_method: method } = client
  if (secret === undefined || method === "none") return "none"
  return method === "client_secret_post" ? "client_secret_post" : "client_secret_basic"
}
