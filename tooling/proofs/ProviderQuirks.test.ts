import { assert, describe, it } from "@effect/vitest"
import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { Housekeeping } from "@valetkey/domain/Housekeeping"
import { ServerSlug } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as Expansion from "@valetkey/providers/Expansion"
import type { Answer, Preset } from "@valetkey/providers/Preset"
import * as Presets from "@valetkey/providers/Presets"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import * as Canary from "@valetkey/testing/Canary"
import * as FakeProvider from "@valetkey/testing/FakeProvider"
import { DateTime, Effect, Redacted, Result } from "effect"
import * as Installation from "./Installation.ts"

// How a provider that answers so is played.
const answers: Readonly<Record<Answer, FakeProvider.Quirk>> = {
  error_in_success: "error_in_success",
  form_encoded: "form_encoded",
  comma_scopes: "comma_scopes",
  no_lifetime: "no_lifetime",
  no_token_type: "no_token_type",
  no_refresh_token_again: "no_refresh_token_again",
  former_access_token_ends: "former_access_token_ends"
}

/** Everything that is peculiar about the provider of a preset, for the fake one. */
const quirksOf = ({ answers: named = [], quirks = {} }: Preset): ReadonlyArray<FakeProvider.Quirk> => {
  const { accessTokenLifetime, requestBody, revocation, tokenType, tokensIn } = quirks.tokenDialect ?? {}
  return [
    ...named.map((one) => answers[one]),
    ...(quirks.scopeSeparator === "comma" ? ["scopes_by_comma"] as const : []),
    ...(quirks.scopeParameter === "user_scope" ? ["scopes_elsewhere"] as const : []),
    ...(quirks.resourceParameter === false ? ["refuses_resource"] as const : []),
    ...(requestBody === "json" ? ["json_requests"] as const : []),
    ...(revocation === "bearer" ? ["bearer_revocation"] as const : []),
    ...(tokensIn === "authed_user" ? ["nested_tokens"] as const : []),
    ...(tokenType === undefined ? [] : ["other_token_type"] as const),
    ...(accessTokenLifetime === "unlimited" && !named.includes("no_lifetime") ? ["zero_lifetime"] as const : [])
  ]
}

const key = new ConnectionKey({
  tenant: TenantId.make("local"),
  subject: SubjectId.make("local"),
  server: ServerSlug.make("provider")
})

interface Told extends Pick<Expansion.Description, "scopes" | "quirks"> {
  readonly revocation: boolean
  readonly authMethod: Preset["authMethod"]
  readonly dynamic?: boolean
}

/** Connects to a fake provider, which is as it is, by a description that says what it says. */
const connect = Effect.fnUntraced(function*(
  { authMethod, dynamic, quirks: told, revocation, scopes = [] }: Told,
  quirks: ReadonlyArray<FakeProvider.Quirk>,
  refreshTokens: NonNullable<Preset["refreshTokens"]>["kind"] = "rotating"
) {
  const clientSecret = Canary.make("client_secret")
  const provider = yield* FakeProvider.make({
    quirks,
    clients: [{ clientId: "by-hand", secrets: [Redacted.value(clientSecret)] }],
    requiredScopes: scopes,
    refreshTokens: refreshTokens !== "none",
    rotation: refreshTokens === "reusable" ? "none" : "rotate-refuse-old"
  })
  yield* (yield* Servers).put(key.tenant, key.server, {
    resource: provider.resource,
    scopes,
    quirks: told,
    ...(dynamic === true ? {} : {
      endpoints: {
        authorization: `${provider.issuer}/authorize`,
        token: `${provider.issuer}/token`,
        ...(revocation ? { revocation: `${provider.issuer}/revoke` } : {})
      },
      client: { clientId: "by-hand", authMethod, clientSecret }
    })
  })
  const flow = yield* Installation.connect(key)
  return { flow, provider, tokens: yield* AccessTokens }
})

const disconnect = Effect.gen(function*() {
  yield* (yield* Connections).disconnect(key)
  yield* (yield* Housekeeping).revoke
})

describe("a provider that speaks as its preset says", () => {
  for (const preset of Presets.all) {
    it.live(`TOK-10 TOK-11 ${preset.id} connects, refreshes and is disconnected`, () =>
      Effect.scoped(Effect.gen(function*() {
        const parameters = Object.entries(preset.parameters ?? {}).map(([name, { example }]) => [name, example])
        const description = Result.getOrThrow(Expansion.expand(preset, Object.fromEntries(parameters))).description
        const dynamic = preset.registration.kind === "dynamic"
        const revocation = dynamic || description.endpoints?.revocation !== undefined
        const { flow, provider, tokens } = yield* connect(
          { ...description, revocation, dynamic, authMethod: preset.authMethod },
          quirksOf(preset),
          // Who leaves the refresh token out of its answer lets the one stay that there is.
          preset.answers?.includes("no_refresh_token_again") === true ? "reusable" : preset.refreshTokens?.kind
        )
        assert.strictEqual(flow.state, "completed")
        const first = yield* tokens.get(key)
        assert.isTrue(provider.isActive(first.accessToken))
        for (const scope of preset.scopes ?? []) assert.include(provider.families[0]?.scopes ?? [], scope)
        if (preset.refreshTokens?.kind !== "none") {
          const second = yield* tokens.get(key, { rejected: first.accessToken })
          assert.isTrue(provider.isActive(second.accessToken))
          assert.notStrictEqual(Redacted.value(second.accessToken), Redacted.value(first.accessToken))
        }
        const last = yield* tokens.get(key)
        yield* disconnect
        assert.strictEqual(provider.isActive(last.accessToken), !revocation)
      })).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))
  }
})

const plain: Told = { scopes: ["one", "two"], quirks: {}, revocation: true, authMethod: "client_secret_post" }

/** What a provider is told to need in a description, by what it does; the rest is understood without being told. */
const needs: { readonly [Q in FakeProvider.Quirk]?: Expansion.Description["quirks"] } = {
  scopes_by_comma: { scopeSeparator: "comma" },
  scopes_elsewhere: { scopeParameter: "user_scope" },
  refuses_resource: { resourceParameter: false },
  json_requests: { tokenDialect: { requestBody: "json" } },
  nested_tokens: { tokenDialect: { tokensIn: "authed_user" } },
  other_token_type: { tokenDialect: { tokenType: "bearer" } },
  bearer_revocation: { tokenDialect: { revocation: "bearer" } }
}

const tolerated: ReadonlyArray<FakeProvider.Quirk> = Object.values(answers)

describe("a quirk", () => {
  /** Whether everything goes well: the person's scopes, a token that lasts, a refresh, and an end of it all. */
  const goesWell = (told: Told, quirk: FakeProvider.Quirk) =>
    Effect.gen(function*() {
      const { flow, provider, tokens } = yield* connect(told, [quirk])
      if (flow.state !== "completed") return flow.state
      const first = yield* tokens.get(key)
      if (provider.requests("token").length !== 1) return "the token did not last"
      if (!provider.isActive(first.accessToken)) return "another token"
      if (provider.families[0]?.scopes.join() !== "one,two") return "other scopes"
      if (first.scopes?.join() !== "one,two") return "other scopes told"
      const second = yield* tokens.get(key, { rejected: first.accessToken })
      if (!provider.isActive(second.accessToken)) return "no refresh"
      if (quirk === "former_access_token_ends" && provider.isActive(first.accessToken)) return "not played"
      // Somebody who still holds the one before gets the new one, and nobody is asked again.
      const late = yield* tokens.get(key, { rejected: first.accessToken })
      if (late.generation !== second.generation || provider.requests("token").length !== 2) return "asked again"
      yield* disconnect
      return provider.isActive(second.accessToken) ? "not revoked" : "well"
    }).pipe(Effect.catch((error) => Effect.succeed(error.message)))

  for (const quirk of tolerated) {
    it.live(`TOK-07 TOK-08 ${quirk} is understood without being told`, () =>
      Effect.scoped(Effect.gen(function*() {
        assert.strictEqual(yield* goesWell(plain, quirk), "well")
      })).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))
  }

  for (const [quirk, quirks] of Object.entries(needs) as ReadonlyArray<[FakeProvider.Quirk, Told["quirks"]]>) {
    it.live(`${quirk} goes well with its setting, and not without`, () =>
      Effect.scoped(Effect.gen(function*() {
        assert.strictEqual(yield* goesWell({ ...plain, quirks }, quirk), "well")
        assert.notStrictEqual(yield* goesWell(plain, quirk), "well")
      })).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))
  }

  it.live("TOK-03 a token of zero seconds that does not end is used to the end where the description says so", () =>
    Effect.scoped(Effect.gen(function*() {
      const unlimited = { ...plain, quirks: { tokenDialect: { accessTokenLifetime: "unlimited" as const } } }
      const { provider, tokens } = yield* connect(unlimited, ["zero_lifetime"], "none")
      const first = yield* tokens.get(key)
      assert.isUndefined(first.expiresAt)
      assert.isTrue(provider.isActive(first.accessToken))
      const { tokens: untold } = yield* connect(plain, ["zero_lifetime"], "none")
      assert.isDefined((yield* untold.get(key)).expiresAt)
    })).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))

  it.live("TOK-01 a lifetime that nobody names is the provider's own, and one that is named is believed", () =>
    Effect.scoped(Effect.gen(function*() {
      const known = { ...plain, quirks: { tokenDialect: { accessTokenLifetime: 2_592_000 } } }
      for (const [quirks, seconds] of [[["no_lifetime"], 2_592_000], [[], 3600]] as const) {
        const { tokens } = yield* connect(known, quirks)
        const { expiresAt } = yield* tokens.get(key)
        const left = DateTime.toEpochMillis(expiresAt!) - DateTime.toEpochMillis(yield* DateTime.now)
        assert.isTrue(left > (seconds - 60) * 1000 && left <= seconds * 1000, String(left))
      }
    })).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))

  it.live("TOK-10 a refusal with status 200 is a refusal, and ends the connection once", () =>
    Effect.scoped(Effect.gen(function*() {
      const { provider, tokens } = yield* connect(plain, ["error_in_success", "form_encoded"])
      const { accessToken } = yield* tokens.get(key)
      provider.revokeAll()
      for (let times = 0; times < 3; times++) {
        const refused = yield* Effect.flip(tokens.get(key, { rejected: accessToken }))
        assert.include(JSON.stringify(refused), "reauthorization_required")
      }
      assert.strictEqual(provider.requests("token").length, 2)
    })).pipe(Effect.provide(Installation.layer(MemoryStore.layer))))
})
