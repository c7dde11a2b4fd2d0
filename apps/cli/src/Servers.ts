import { Effect, Option } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { type CliFailure, failure } from "./CliFailure.ts"
import { Output, plain, table } from "./Output.ts"
import { everyPage } from "./Remote.ts"
import { reach } from "./Target.ts"
import { operations, type Server } from "./Wire.ts"
import { formatScopes, Name } from "./Words.ts"

const ListServers = Command.make("list", {}, () =>
  Effect.gen(function*() {
    const output = yield* Output
    const remote = yield* reach({ start: false })
    const servers = yield* everyPage((after) => remote.call(operations.servers, after), (page) => page.servers)
    yield* output.result(
      { ok: true, servers },
      servers.length === 0 ? "" : table([
        ["NAME", "RESOURCE", "SCOPES"],
        ...servers.map((one) => [one.server, plain(one.resource), formatScopes(one.scopes)])
      ])
    )
    if (servers.length === 0) yield* output.say("There are no servers. Add one with: valetkey servers add NAME URL")
  })).pipe(
    Command.withDescription("List the servers"),
    Command.withExamples([{ command: "valetkey servers list", description: "What can be connected to" }])
  )

const ShowServer = Command.make("show", { name: Name }, ({ name }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const remote = yield* reach({ start: false })
    const server = yield* remote.call(operations.server, name)
    yield* output.result({ ok: true, server }, describe(server))
  })).pipe(
    Command.withDescription("Show one server"),
    Command.withExamples([{
      command: "valetkey servers show notes",
      description: "Its resource, issuer, client and scopes"
    }])
  )

const AddServer = Command.make("add", {
  name: Name,
  resource: Argument.String("url").pipe(Argument.withDescription("URL of the protected resource")),
  issuer: Flag.String("issuer").pipe(Flag.withDescription("The only issuer to accept"), Flag.optional),
  scope: Flag.String("scope").pipe(Flag.withDescription("Scope to ask for; may be repeated"), Flag.atLeast(0)),
  clientId: Flag.String("client-id").pipe(Flag.withDescription("Client that was registered by hand"), Flag.optional),
  clientSecretStdin: Flag.Boolean("client-secret-stdin").pipe(
    Flag.withDescription("Read the client's secret from stdin"),
    Flag.withDefault(false),
    Flag.withoutNegation
  ),
  authMethod: Flag.Literals("auth-method", ["client_secret_basic", "client_secret_post", "private_key_jwt"]).pipe(
    Flag.withDescription("How the client proves itself; with private_key_jwt and no --client-key a key is made"),
    Flag.withDefault("client_secret_basic" as const)
  ),
  clientKey: Flag.String("client-key").pipe(
    Flag.withDescription("File with the private key of private_key_jwt, PKCS#8 in PEM or a JWK; - reads stdin"),
    Flag.optional
  ),
  redirectUri: Flag.String("redirect-uri").pipe(
    Flag.withDescription("Redirect URI that was registered by hand"),
    Flag.optional
  ),
  accountChange: Flag.Literals("account-change", ["refuse", "replace"]).pipe(
    Flag.withDescription("When another account of the provider signs in to a connection; refuse by default"),
    Flag.optional
  ),
  grant: Flag.Literals("grant", ["client_credentials"]).pipe(
    Flag.withDescription("Get tokens by the client's own authority, without a person; a person consents by default"),
    Flag.optional
  ),
  refreshTokenIdleLimit: Flag.String("refresh-token-idle-limit").pipe(
    Flag.withDescription("How long the provider lets a refresh token lie unused, such as '60 days'"),
    Flag.optional
  ),
  refreshTokenLifetime: Flag.String("refresh-token-lifetime").pipe(
    Flag.withDescription("How long after a consent the provider ends the grant, such as '1 year'"),
    Flag.optional
  ),
  refreshAhead: Flag.Literals("refresh-ahead", ["on_use", "always", "keep_alive", "never"]).pipe(
    Flag.withDescription("Which connections are renewed before anybody asks; on_use by default"),
    Flag.optional
  ),
  proxied: Flag.Boolean("proxied").pipe(
    Flag.withDescription("Hand out no access token: requests go through the proxy of the server alone"),
    Flag.withDefault(false),
    Flag.withoutNegation
  ),
  authorizationEndpoint: Flag.String("authorization-endpoint").pipe(
    Flag.withDescription("For a provider without metadata"),
    Flag.optional
  ),
  tokenEndpoint: Flag.String("token-endpoint").pipe(
    Flag.withDescription("For a provider without metadata"),
    Flag.optional
  ),
  revocationEndpoint: Flag.String("revocation-endpoint").pipe(
    Flag.withDescription("For a provider without metadata"),
    Flag.optional
  ),
  deviceEndpoint: Flag.String("device-endpoint").pipe(
    Flag.withDescription("For a provider without metadata: the device authorization endpoint (RFC 8628)"),
    Flag.optional
  )
}, (input) =>
  Effect.gen(function*() {
    const output = yield* Output
    const description = yield* descriptionOf(input)
    const remote = yield* reach({ start: true })
    const { created } = yield* remote.call(operations.putServer, { server: input.name, description })
    yield* output.result(
      { ok: true, server: input.name, created },
      `${created ? "Added" : "Replaced"} ${input.name}`
    )
    if (input.authMethod === "private_key_jwt") {
      const { client } = yield* remote.call(operations.server, input.name)
      yield* output.say("The authorization server has to know this public key of the client, a JWK:")
      yield* output.say(JSON.stringify(client?.publicKey))
    }
  })).pipe(
    Command.withDescription("Add a server, or replace it"),
    Command.withExamples([{
      command: "valetkey servers add notes https://mcp.example.com/mcp",
      description: "Metadata and registration are found"
    }, {
      command: "valetkey servers add notes https://mcp.example.com/mcp --client-id c --client-secret-stdin < secret",
      description: "A client that was registered by hand"
    }])
  )

const RemoveServer = Command.make("remove", { name: Name }, ({ name }) =>
  Effect.gen(function*() {
    const output = yield* Output
    const remote = yield* reach({ start: true })
    yield* remote.call(operations.removeServer, name)
    yield* output.result({ ok: true, server: name, removed: true }, `Removed ${name}`)
  })).pipe(
    Command.withDescription("Remove a server; its connection stays until it is disconnected"),
    Command.withExamples([{ command: "valetkey servers remove notes", description: "After valetkey disconnect notes" }])
  )

/** `valetkey servers`: what a person can connect to. */
export const Servers = Command.make("servers").pipe(
  Command.withDescription("Manage what can be connected to"),
  Command.withSubcommands([ListServers, AddServer, ShowServer, RemoveServer])
)

interface Added {
  readonly resource: string
  readonly issuer: Option.Option<string>
  readonly scope: ReadonlyArray<string>
  readonly clientId: Option.Option<string>
  readonly clientSecretStdin: boolean
  readonly authMethod: "client_secret_basic" | "client_secret_post" | "private_key_jwt"
  readonly clientKey: Option.Option<string>
  readonly redirectUri: Option.Option<string>
  readonly accountChange: Option.Option<"refuse" | "replace">
  readonly grant: Option.Option<"client_credentials">
  readonly refreshTokenIdleLimit: Option.Option<string>
  readonly refreshTokenLifetime: Option.Option<string>
  readonly refreshAhead: Option.Option<"on_use" | "always" | "keep_alive" | "never">
  readonly proxied: boolean
  readonly authorizationEndpoint: Option.Option<string>
  readonly tokenEndpoint: Option.Option<string>
  readonly revocationEndpoint: Option.Option<string>
  readonly deviceEndpoint: Option.Option<string>
}

const descriptionOf = Effect.fnUntraced(
  function*(input: Added) {
    const issuer = Option.getOrUndefined(input.issuer)
    const clientId = Option.getOrUndefined(input.clientId)
    const accountChange = Option.getOrUndefined(input.accountChange)
    const refreshTokenIdleLimit = Option.getOrUndefined(input.refreshTokenIdleLimit)
    const refreshTokenLifetime = Option.getOrUndefined(input.refreshTokenLifetime)
    const refreshAhead = Option.getOrUndefined(input.refreshAhead)
    const redirectUri = Option.getOrUndefined(input.redirectUri)
    const authorization = Option.getOrUndefined(input.authorizationEndpoint)
    const token = Option.getOrUndefined(input.tokenEndpoint)
    const revocation = Option.getOrUndefined(input.revocationEndpoint)
    const deviceAuthorization = Option.getOrUndefined(input.deviceEndpoint)
    const grant = Option.getOrUndefined(input.grant)
    const signs = input.authMethod === "private_key_jwt"
    const keyFile = Option.getOrUndefined(input.clientKey)
    const proves = input.clientSecretStdin || signs || keyFile !== undefined
    if (clientId === undefined && (proves || redirectUri !== undefined)) {
      return yield* failure(
        "usage",
        "--client-secret-stdin, --client-key, private_key_jwt and --redirect-uri go with --client-id"
      )
    }
    if (signs ? input.clientSecretStdin : keyFile !== undefined) {
      return yield* failure(
        "usage",
        "--client-key goes with --auth-method private_key_jwt, and --client-secret-stdin does not"
      )
    }
    if (grant !== undefined && !input.clientSecretStdin && !signs) {
      return yield* failure(
        "usage",
        "--grant goes with --client-id, and with --client-secret-stdin or --auth-method private_key_jwt"
      )
    }
    if (grant === undefined && (authorization === undefined) !== (token === undefined)) {
      return yield* failure("usage", "--authorization-endpoint and --token-endpoint go together")
    }
    // A secret in an argument would stand in the shell's history and in every process list.
    const secret = input.clientSecretStdin
      ? (yield* Effect.promise(readStdin)).trim()
      : keyFile === undefined
      ? undefined
      : yield* readKey(keyFile)
    if (secret === "") return yield* failure("usage", "There was no secret on stdin")
    return {
      resource: input.resource,
      ...(issuer === undefined ? {} : { issuer }),
      ...(input.scope.length === 0 ? {} : { scopes: input.scope }),
      ...(accountChange === undefined ? {} : { accountChange }),
      ...(grant === undefined ? {} : { grant: { type: grant } }),
      ...(refreshTokenIdleLimit === undefined ? {} : { refreshTokenIdleLimit }),
      ...(refreshTokenLifetime === undefined ? {} : { refreshTokenLifetime }),
      ...(refreshAhead === undefined ? {} : { refreshAhead }),
      ...(input.proxied ? { tokens: "proxied" as const } : {}),
      ...(token === undefined
        ? {}
        : {
          endpoints: {
            ...(authorization === undefined ? {} : { authorization }),
            token,
            ...(revocation === undefined ? {} : { revocation }),
            ...(deviceAuthorization === undefined ? {} : { deviceAuthorization })
          }
        }),
      ...(clientId === undefined ? {} : {
        client: {
          clientId,
          authMethod: secret === undefined && !signs ? "none" as const : input.authMethod,
          ...(secret === undefined ? {} : { clientSecret: secret }),
          ...(redirectUri === undefined ? {} : { redirectUri })
        }
      })
    }
  }
)

/** A private key as a JWK, whichever way it is written. */
const readKey = (file: string): Effect.Effect<string, CliFailure> =>
  Effect.tryPromise({
    try: async () => {
      const { createPrivateKey } = await import("node:crypto")
      const text = file === "-" ? await readStdin() : await (await import("node:fs/promises")).readFile(file, "utf8")
      if (text.trimStart().startsWith("{")) return JSON.stringify(JSON.parse(text))
      return JSON.stringify(createPrivateKey(text).export({ format: "jwk" }))
    },
    // What was thrown may hold the key.
    catch: () => failure("usage", "--client-key is to name a readable file with a private key, PKCS#8 in PEM or a JWK")
  })

const readStdin = async (): Promise<string> => {
  const { text } = await import("node:stream/consumers")
  return text(process.stdin)
}

const describe = (server: Server): string =>
  table([
    ["name", server.server],
    ["resource", plain(server.resource)],
    ["issuer", server.issuer === undefined ? "discovered" : plain(server.issuer)],
    ["client", server.client === undefined ? "registered on first use" : plain(server.client.clientId)],
    ...(server.client?.publicKey === undefined
      ? []
      : [["public key", plain(JSON.stringify(server.client.publicKey))]]),
    ["scopes", formatScopes(server.scopes)],
    ["grant", server.grant === undefined ? "a person's consent" : server.grant.type],
    ["tokens", server.tokens === "proxied" ? "stay here" : "are handed out"],
    ["refresh tokens idle out", server.refreshTokenIdleLimit === undefined ? "-" : plain(server.refreshTokenIdleLimit)],
    ["grants end after", server.refreshTokenLifetime === undefined ? "-" : plain(server.refreshTokenLifetime)],
    ["renewed ahead", server.refreshAhead ?? "on_use"],
    ["another account", server.accountChange === "replace" ? "replaces" : "is refused"]
  ])
