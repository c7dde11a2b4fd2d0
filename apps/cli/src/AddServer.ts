import { spanOf } from "@valetkey/domain/RefreshTerms"
import type { Expanded } from "@valetkey/providers/Expansion"
import { Effect, Option } from "effect"
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import { type CliFailure, failure } from "./CliFailure.ts"
import { Output, plain } from "./Output.ts"
import { expand, refuseWithoutClient, sentencesOf, usualRedirectUri } from "./ServerPreset.ts"
import { reach, resolve } from "./Target.ts"
import { operations } from "./Wire.ts"
import { Name } from "./Words.ts"

/** A length of time; that it is one is said here, beside its flag. */
const spanFlag = (name: string) =>
  Flag.String(name).pipe(
    Flag.filter(
      (text) => spanOf(text) !== undefined,
      () => "expected a number of minutes, hours, days or years, such as '60 days'"
    )
  )

/** `valetkey servers add`: describes a server, by itself or from a preset. */
export const AddServer = Command.make("add", {
  name: Name,
  resource: Argument.String("url").pipe(
    Argument.withDescription("URL of the protected resource; a preset has its own"),
    Argument.optional
  ),
  preset: Flag.String("preset").pipe(
    Flag.withDescription("A provider as `valetkey servers presets` lists it, or a file; without a URL, NAME's own"),
    Flag.optional
  ),
  set: Flag.String("set").pipe(
    Flag.withMetavar("NAME=VALUE"),
    Flag.withDescription("A parameter of the preset, such as tenant=contoso; may be repeated"),
    Flag.atLeast(0)
  ),
  issuer: Flag.String("issuer").pipe(Flag.withDescription("The only issuer to accept"), Flag.optional),
  scope: Flag.String("scope").pipe(Flag.withDescription("Scope to ask for; may be repeated"), Flag.atLeast(0)),
  clientId: Flag.String("client-id").pipe(Flag.withDescription("Client that was registered by hand"), Flag.optional),
  clientSecretStdin: Flag.Boolean("client-secret-stdin").pipe(
    Flag.withDescription("Read the client's secret from stdin"),
    Flag.withDefault(false),
    Flag.withoutNegation
  ),
  authMethod: Flag.Literals("auth-method", ["client_secret_basic", "client_secret_post", "private_key_jwt"]).pipe(
    Flag.withDescription(
      "How the client proves itself; as the preset says, else client_secret_basic. With private_key_jwt and no --client-key a key is made"
    ),
    Flag.optional
  ),
  clientKey: Flag.String("client-key").pipe(
    Flag.withDescription("File with the private key of private_key_jwt, PKCS#8 in PEM or a JWK; - reads stdin"),
    Flag.optional
  ),
  redirectUri: Flag.String("redirect-uri").pipe(
    Flag.withDescription("Redirect URI that was registered by hand; a preset on this machine has a usual one"),
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
  refreshTokenIdleLimit: spanFlag("refresh-token-idle-limit").pipe(
    Flag.withDescription("How long the provider lets a refresh token lie unused, such as '60 days'"),
    Flag.optional
  ),
  refreshTokenLifetime: spanFlag("refresh-token-lifetime").pipe(
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
    const preset = yield* presetOf(input)
    const isLocal = (yield* resolve)._tag === "local"
    if (preset !== undefined && Option.isNone(input.clientId)) yield* refuseWithoutClient(preset, input.name, isLocal)
    const description = yield* descriptionOf(input, preset, isLocal)
    const remote = yield* reach({ start: true })
    const { created, server } = yield* remote.call(operations.putServer, { server: input.name, description })
    const { gatewayRedirectUri } = server
    yield* output.result(
      {
        ok: true,
        server: input.name,
        created,
        ...(preset === undefined ? {} : { preset: preset.preset.id }),
        ...(gatewayRedirectUri === undefined ? {} : { gatewayRedirectUri })
      },
      `${created ? "Added" : "Replaced"} ${input.name}`
    )
    if (description.client !== undefined && gatewayRedirectUri !== undefined) {
      yield* output.say(`Over the gateway the client's redirect URI is ${plain(gatewayRedirectUri)}`)
    }
    for (const sentence of preset === undefined ? [] : sentencesOf(preset.preset)) yield* output.say(plain(sentence))
    if (Option.contains(input.authMethod, "private_key_jwt")) {
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
    }, {
      command: "valetkey servers add github --client-id c --client-secret-stdin < secret",
      description: "A provider that has a preset of this name"
    }, {
      command: "valetkey servers add work --preset microsoft-graph --set tenant=contoso.com --client-id c",
      description: "A preset by another name, with its parameter"
    }])
  )

interface Added {
  readonly name: string
  readonly resource: Option.Option<string>
  readonly preset: Option.Option<string>
  readonly set: ReadonlyArray<string>
  readonly issuer: Option.Option<string>
  readonly scope: ReadonlyArray<string>
  readonly clientId: Option.Option<string>
  readonly clientSecretStdin: boolean
  readonly authMethod: Option.Option<"client_secret_basic" | "client_secret_post" | "private_key_jwt">
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

/** The preset that is meant: the one of the flag, or where no URL is given the one of the name. */
const presetOf = Effect.fnUntraced(function*({ name, preset, resource, set }: Added) {
  const wanted = Option.isSome(preset) ? preset.value : Option.isSome(resource) ? undefined : name
  if (wanted === undefined) {
    return set.length === 0 ? undefined : yield* failure("usage", "--set goes with a preset")
  }
  return yield* expand(wanted, set)
})

const descriptionOf = Effect.fnUntraced(
  function*(input: Added, expanded: Expanded | undefined, isLocal: boolean) {
    const usual = expanded?.description
    const resource = Option.getOrUndefined(input.resource) ?? usual?.resource
    if (resource === undefined) return yield* failure("usage", "A server needs a URL or a preset")
    const issuer = Option.getOrUndefined(input.issuer) ?? usual?.issuer
    const clientId = Option.getOrUndefined(input.clientId)
    const accountChange = Option.getOrUndefined(input.accountChange)
    const refreshTokenIdleLimit = Option.getOrUndefined(input.refreshTokenIdleLimit) ?? usual?.refreshTokenIdleLimit
    const refreshTokenLifetime = Option.getOrUndefined(input.refreshTokenLifetime) ?? usual?.refreshTokenLifetime
    const refreshAhead = Option.getOrUndefined(input.refreshAhead)
    const given = Option.getOrUndefined(input.redirectUri)
    const authorization = Option.getOrUndefined(input.authorizationEndpoint)
    const token = Option.getOrUndefined(input.tokenEndpoint)
    const revocation = Option.getOrUndefined(input.revocationEndpoint)
    const deviceAuthorization = Option.getOrUndefined(input.deviceEndpoint)
    const grant = Option.getOrUndefined(input.grant)
    const authMethod = Option.getOrUndefined(input.authMethod) ?? methodOf(expanded) ?? "client_secret_basic"
    const signs = authMethod === "private_key_jwt"
    const keyFile = Option.getOrUndefined(input.clientKey)
    const proves = input.clientSecretStdin || signs || keyFile !== undefined
    if (clientId === undefined && (proves || given !== undefined)) {
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
    const redirectUri = given ?? (expanded === undefined ? undefined : usualRedirectUri(expanded.preset, isLocal))
    return {
      resource,
      ...(usual === undefined ? {} : { name: usual.name, quirks: usual.quirks }),
      ...(issuer === undefined ? {} : { issuer }),
      ...(input.scope.length > 0
        ? { scopes: input.scope }
        : usual?.scopes === undefined
        ? {}
        : { scopes: usual.scopes }),
      ...(accountChange === undefined ? {} : { accountChange }),
      ...(grant === undefined ? {} : { grant: { type: grant } }),
      ...(refreshTokenIdleLimit === undefined ? {} : { refreshTokenIdleLimit }),
      ...(refreshTokenLifetime === undefined ? {} : { refreshTokenLifetime }),
      ...(refreshAhead === undefined ? {} : { refreshAhead }),
      ...(input.proxied ? { tokens: "proxied" as const } : {}),
      ...(token === undefined
        ? usual?.endpoints === undefined ? {} : { endpoints: usual.endpoints }
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
          authMethod: secret === undefined && !signs ? "none" as const : authMethod,
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

const methodOf = (expanded: Expanded | undefined) =>
  expanded === undefined || expanded.preset.authMethod === "none" ? undefined : expanded.preset.authMethod

const readStdin = async (): Promise<string> => {
  const { text } = await import("node:stream/consumers")
  return text(process.stdin)
}
