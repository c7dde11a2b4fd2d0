import { assert, describe, it } from "@effect/vitest"
import { CallbackAccepted, CallbackReceived } from "@valetkey/domain/Authorization"
import { ResponseError } from "@valetkey/domain/AuthorizationServer"
import type { Delivery } from "@valetkey/domain/CallbackTransport"
import type { FlowFailure } from "@valetkey/domain/Flow"
import { Flows, type StartOptions } from "@valetkey/domain/Flows"
import { type ClaimedFlow, FlowStore } from "@valetkey/domain/FlowStore"
import type { Server } from "@valetkey/domain/Server"
import { Servers } from "@valetkey/domain/Servers"
import { maxToken, type SignedResponses } from "@valetkey/domain/SignedResponse"
import { MemoryWorld } from "@valetkey/store-memory/MemoryWorld"
import * as Canary from "@valetkey/testing/Canary"
import { Deferred, Effect, Fiber, Logger, Redacted, Result } from "effect"
import { TestClock } from "effect/testing"
import { Browser, comeBack, keyOf, layer, Provider, returnTo } from "./World.ts"

const terms = { jwksUri: "https://as.example/jwks", algorithms: ["ES256"] } as const
const offered: SignedResponses = { mode: "query.jwt", alone: true, ...terms }

const encoded = (text: string): string => Buffer.from(text).toString("base64url")
const tokenOf = (payload: unknown): string => `${encoded("{}")}.${encoded(JSON.stringify(payload))}.c2ln`
const parse = (query: ConstructorParameters<typeof URLSearchParams>[0]) =>
  CallbackReceived.parse(new URLSearchParams(query))
const signed = (payload: unknown) => Result.getOrThrow(parse({ response: tokenOf(payload) }))

/** What a response of a flow says, honestly: signed or plain, a code or an error. */
const saysOf = (authorizationUrl: Redacted.Redacted) => ({
  state: new URL(Redacted.value(authorizationUrl)).searchParams.get("state")!,
  iss: "https://as.example",
  code: Canary.makeText("code")
})

/** The checks of the authorization server's adapter, as a test decides them. */
const checking = Effect.map(Provider, (provider) => {
  const seen: Array<string> = []
  const verifying = (result: (claims: URLSearchParams) => Effect.Effect<URLSearchParams, ResponseError>) => {
    provider.verify = (token) => {
      seen.push(Redacted.value(token))
      const payload = Redacted.value(token).split(".")[1]!
      return result(new URLSearchParams(JSON.parse(Buffer.from(payload, "base64url").toString())))
    }
  }
  verifying((claims) => Effect.succeed(claims))
  return { provider, seen, verifying }
})

/** A flow at an authorization server that says this of signed responses. */
const begun = Effect.fnUntraced(function*(
  options: StartOptions = {},
  saying: SignedResponses | "nothing" = offered,
  quirks: Server["quirks"] = {}
) {
  const checks = yield* checking
  checks.provider.saying = saying === "nothing" ? {} : { signedResponses: saying }
  const key = yield* keyOf("mcp")
  yield* (yield* Servers).put(key.tenant, key.server, { resource: "https://mcp.example/mcp", quirks })
  const started = yield* (yield* Flows).start(key, options)
  if (started._tag !== "Started") return yield* Effect.die(started._tag)
  const { authorizationUrl, flow } = started
  const { context } = (yield* MemoryWorld).flows.get(flow.id)!.authorization!
  const owner = { id: flow.id, tenant: key.tenant, subject: key.subject }
  return { ...checks, authorizationUrl, flow, owner, context, says: saysOf(authorizationUrl) }
})

const codes = (provider: Provider["Service"]) => provider.exchanged.length

describe("CallbackReceived of a signed response", () => {
  it("FLOW-10 FLOW-15 is not made of two, beside plain parameters, of an oversize one, or of what is no JWT with a state", () => {
    const token = tokenOf({ state: "s" })
    const one = new URLSearchParams({ response: token }).toString()
    const ofPayload = (payload: string) => `response=${encoded("{}")}.${encoded(payload)}.c2ln`
    const queries = [
      `${one}&${one}`,
      ...["state=s", "code=c", "iss=i", "error=e"].flatMap((plain) => [`${one}&${plain}`, `${plain}&${one}`]),
      "response=",
      "response=a.b",
      "response=a.b.c",
      `response=${token.split(".").slice(0, 2).join(".")}`,
      // An encrypted one.
      `response=${encoded("{}")}.${encoded("{\"state\":\"s\"}")}.a.b.c`,
      ...["", "{", "null", "[]", "\"s\"", "{}", "{\"state\":1}", "{\"state\":\"\"}", "{\"state\":[\"s\"]}"].map(
        ofPayload
      ),
      ofPayload(JSON.stringify({ state: "s".repeat(1025) })),
      ofPayload(JSON.stringify({ state: "s", code: "c".repeat(maxToken) }))
    ]
    for (const query of queries) {
      const result = parse(query)
      assert.strictEqual(Result.isFailure(result) && result.failure.code, "callback_malformed", query.slice(0, 60))
    }
    assert.isTrue(Result.isSuccess(parse(one)))
    assert.isTrue(Result.isSuccess(parse(`${one}&session_state=x`)))
    // The longest code that a plain response may have fits.
    assert.isTrue(Result.isSuccess(parse({ response: tokenOf({ state: "s".repeat(1024), code: "c".repeat(16_384) }) })))
  })

  it("has its state and nothing else before it is verified, and shows none of it", () => {
    const received = signed({ state: "very-secret", code: "very-secret", iss: "i", error: "e" })
    assert.strictEqual(Redacted.value(received.state), "very-secret")
    assert.deepStrictEqual([received.code, received.iss, received.error], [undefined, undefined, undefined])
    assert.notInclude(JSON.stringify(received) + String(received), "very-secret")
  })

  it("FLOW-10 FLOW-15 takes what its token says for this very state, each once and within its limit", () => {
    const received = signed({ state: "s" })
    const good = Result.getOrThrow(received.verified(new URLSearchParams({ state: "s", code: "c", iss: "i" })))
    assert.strictEqual(Redacted.value(good.code!), "c")
    for (
      const claims of [
        "code=c",
        "state=x&code=c",
        "state=s&state=s&code=c",
        "state=s&code=c&code=d",
        `state=s&code=${"c".repeat(16_385)}`
      ]
    ) assert.deepStrictEqual(received.verified(new URLSearchParams(claims)), Result.fail("malformed_response"), claims)
  })
})

describe("CallbackAccepted of a signed response", () => {
  const flow = (asked: boolean) =>
    ({
      authorization: {
        grant: { issuer: "https://as.example" },
        snapshot: { issRequired: false, ...(asked ? { signedResponse: terms } : {}) }
      }
    }) as unknown as ClaimedFlow
  const claims = { state: "s", code: "c", iss: "https://as.example" }
  const plain = Result.getOrThrow(parse(claims))
  const verified = (more: Readonly<Record<string, string>> = {}) =>
    Result.getOrThrow(signed(claims).verified(new URLSearchParams({ ...claims, ...more })))
  const refusal = (received: CallbackReceived, asked: boolean) =>
    Result.getOrUndefined(Result.flip(CallbackAccepted.accept(received, flow(asked))))

  it("EXT-07 is in the form that was asked for, and verified, before anything else counts", () => {
    assert.strictEqual(refusal(verified(), true), undefined)
    assert.strictEqual(refusal(plain, false), undefined)
    assert.strictEqual(refusal(plain, true), "response_mode_mismatch")
    assert.strictEqual(refusal(signed(claims), true), "response_untrusted")
    for (const unasked of [signed(claims), verified()]) {
      assert.strictEqual(refusal(unasked, false), "response_mode_mismatch")
    }
    assert.strictEqual(refusal(verified({ iss: "https://evil.example" }), true), "issuer_mismatch")
    assert.strictEqual(refusal(verified({ error: "access_denied" }), true), "malformed_response")
  })
})

describe("a flow whose response has to be signed", () => {
  it.effect("asks for that, freezes how it is verified, and exchanges the code once it was", () =>
    Effect.gen(function*() {
      const { authorizationUrl, flow, provider, says, seen } = yield* begun()
      assert.strictEqual(new URL(Redacted.value(authorizationUrl)).searchParams.get("response_mode"), "query.jwt")
      assert.deepStrictEqual((yield* MemoryWorld).flows.get(flow.id)!.authorization!.snapshot.signedResponse, terms)
      const { settled } = yield* comeBack(flow.id, signed(says))
      assert.strictEqual((yield* settled).state, "completed")
      assert.deepStrictEqual(seen, [tokenOf(says)])
      assert.strictEqual(provider.redemptions.get(says.code), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("asks in the server's own word, and of no server that was not asked to or has plain ones", () =>
    Effect.gen(function*() {
      const cases: ReadonlyArray<readonly [SignedResponses | "nothing", Server["quirks"], string | null]> = [
        [{ ...offered, mode: "jwt" }, {}, "jwt"],
        [{ ...offered, alone: false }, { signedResponses: true }, "query.jwt"],
        [{ ...offered, alone: false }, {}, null],
        [offered, { signedResponses: false }, null],
        ["nothing", {}, null]
      ]
      for (const [saying, quirks, mode] of cases) {
        const { authorizationUrl } = yield* begun({ onConflict: "supersede" }, saying, quirks)
        assert.strictEqual(new URL(Redacted.value(authorizationUrl)).searchParams.get("response_mode"), mode)
      }
    }).pipe(Effect.provide(layer)))

  it.effect("does not start where what is asked for cannot be verified; on another device it does", () =>
    Effect.gen(function*() {
      const { jwksUri: _, ...noKeys } = offered
      const cases: ReadonlyArray<readonly [SignedResponses | "nothing", Server["quirks"]]> = [
        [noKeys, {}],
        [{ ...offered, algorithms: [] }, {}],
        [{ ...noKeys, alone: false }, { signedResponses: true }],
        ["nothing", { signedResponses: true }]
      ]
      for (const [saying, quirks] of cases) {
        const error = yield* Effect.flip(begun({}, saying, quirks))
        assert.strictEqual("code" in error && error.code, "signed_response_unsupported")
      }
      assert.deepStrictEqual((yield* Provider).registrations, [])
      const key = yield* keyOf("mcp")
      assert.strictEqual((yield* (yield* Flows).start(key, { transport: "device" }))._tag, "Verifying")
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-07 is failed by a plain response, for which nobody's keys are asked", () =>
    Effect.gen(function*() {
      const { flow, provider, says, seen } = yield* begun()
      const { settled } = yield* comeBack(flow.id, Result.getOrThrow(parse(says)))
      assert.strictEqual((yield* settled).failure, "response_mode_mismatch")
      assert.deepStrictEqual(seen, [])
      assert.strictEqual(codes(provider), 0)
    }).pipe(Effect.provide(layer)))

  it.effect("EXT-07 is no other one: what asked for a plain response is not changed by a signed one", () =>
    Effect.gen(function*() {
      const { flow, owner, provider, says, seen } = yield* begun({}, "nothing")
      const error = yield* Effect.flip(comeBack(flow.id, signed(says)))
      assert.strictEqual("code" in error && error.code, "callback_malformed")
      assert.deepStrictEqual(seen, [])
      assert.strictEqual((yield* (yield* Flows).status(owner)).state, "pending")
      const { settled } = yield* comeBack(flow.id, Result.getOrThrow(parse(says)))
      assert.strictEqual((yield* settled).state, "completed")
      assert.strictEqual(codes(provider), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-11 FLOW-13 is failed by what is not trusted, and by what a trusted one refuses", () =>
    Effect.gen(function*() {
      const untrusted = Effect.fail(new ResponseError({ code: "response_untrusted" }))
      const away = Effect.fail(new ResponseError({ code: "authorization_server_unavailable" }))
      const says = (more: Record<string, string>) => (claims: URLSearchParams) =>
        Effect.succeed(new URLSearchParams({ ...Object.fromEntries(claims), ...more }))
      const without = (claims: URLSearchParams) => {
        claims.delete("code")
        return claims
      }
      const cases: ReadonlyArray<
        readonly [(claims: URLSearchParams) => Effect.Effect<URLSearchParams, ResponseError>, FlowFailure]
      > = [
        [() => untrusted, "response_untrusted"],
        [() => away, "authorization_server_unavailable"],
        [says({ iss: "https://evil.example" }), "issuer_mismatch"],
        [says({ error: "access_denied" }), "malformed_response"],
        [says({ state: "another" }), "malformed_response"],
        [(claims) => Effect.succeed(without(claims)), "malformed_response"],
        [(claims) => says({ error: "access_denied" })(without(claims)), "access_denied"],
        [(claims) => says({ error: "invalid_scope" })(without(claims)), "authorization_refused"]
      ]
      for (const [check, failure] of cases) {
        const { flow, provider, says, verifying } = yield* begun({ onConflict: "supersede" })
        verifying(check)
        const { settled } = yield* comeBack(flow.id, signed(says))
        assert.strictEqual((yield* settled).failure, failure)
        assert.strictEqual(codes(provider), 0)
      }
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-02 BIND-02 is not found by a token of a state that nobody made, of another context or browser, which costs no look at keys", () =>
    Effect.gen(function*() {
      const { context, flow, owner, says, seen } = yield* begun()
      const store = yield* FlowStore
      const asked = { claims: 0 }
      const { claim } = store
      Object.assign(store, { claim: (...input: Parameters<typeof claim>) => (asked.claims++, claim(...input)) })
      const flows = yield* Flows
      for (const state of ["junk", `${says.state.slice(0, -3)}AAA`]) {
        const error = yield* Effect.flip(flows.complete(signed({ ...says, state }), { context }))
        assert.strictEqual(error.code, "callback_unknown")
      }
      assert.strictEqual(asked.claims, 0)
      const strangers = [
        { context: "another" },
        { context, browser: () => Redacted.make("of somebody else") }
      ]
      for (const place of strangers) {
        assert.strictEqual((yield* Effect.flip(flows.complete(signed(says), place))).code, "callback_unknown")
      }
      assert.deepStrictEqual(seen, [])
      assert.strictEqual((yield* flows.status(owner)).state, "pending")
      assert.strictEqual((yield* (yield* comeBack(flow.id, signed(says))).settled).state, "completed")
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-04 verifies and exchanges once however often its response comes", () =>
    Effect.gen(function*() {
      const { context, flow, provider, says, seen } = yield* begun()
      const { settled } = yield* comeBack(flow.id, signed(says))
      const again = yield* (yield* Flows).complete(signed(says), { context })
      assert.strictEqual((yield* again.settled).id, (yield* settled).id)
      assert.strictEqual(seen.length, 1)
      assert.strictEqual(codes(provider), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("FLOW-40 ends within its lease though the keys never come, and posts no code", () =>
    Effect.gen(function*() {
      const { flow, provider, says, verifying } = yield* begun()
      verifying(() => Effect.never)
      const { settled } = yield* comeBack(flow.id, signed(says))
      const waiting = yield* Effect.forkChild(settled)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(waiting)).failure, "authorization_server_unavailable")
      assert.strictEqual(codes(provider), 0)
    }).pipe(Effect.provide(layer)))

  it.effect("takes it from its owner's hand, and nothing else", () =>
    Effect.gen(function*() {
      const { flow, owner, provider, says } = yield* begun()
      const flows = yield* Flows
      const { redirectUri } = (yield* Browser).open.get(flow.id)!
      const pasted = (query: Record<string, string>) =>
        flows.paste(owner, Redacted.make(`${redirectUri}?${new URLSearchParams(query)}`))
      const response = tokenOf(says)
      for (const query of [{ response: "a.b.c" }, { response, state: says.state }, says]) {
        assert.strictEqual((yield* Effect.flip(pasted(query))).code, "callback_url_invalid")
      }
      const other = yield* Effect.flip(pasted({ response: tokenOf({ ...says, state: "another" }) }))
      assert.strictEqual(other.code, "callback_url_mismatch")
      assert.strictEqual((yield* flows.status(owner)).state, "pending")
      assert.strictEqual((yield* pasted({ response })).state, "completed")
      assert.strictEqual(codes(provider), 1)
    }).pipe(Effect.provide(layer)))
})

describe("a flow whose response has to be signed and that its application finalizes", () => {
  const finalize = { confirmation: "finalize", returnTo, transport: "gateway" } as const
  const onwardOf = ({ onward }: { readonly onward?: Redacted.Redacted | undefined }) =>
    new URL(Redacted.value(onward!)).searchParams

  it.effect("BIND-04 holds the code once it is verified, and gives the same response the same way on", () =>
    Effect.gen(function*() {
      const { context, flow, owner, provider, says, seen } = yield* begun(finalize)
      const flows = yield* Flows
      const arrive = Effect.map(flows.complete(signed(says), { context }), onwardOf)
      const code = (yield* arrive).get("completion_code")!
      assert.strictEqual((yield* arrive).get("completion_code"), code)
      assert.strictEqual(seen.length, 2)
      // The state alone, or a response that is not verified, is shown nothing.
      for (const received of [signed({ ...says, code: "another" }), Result.getOrThrow(parse(says))]) {
        assert.strictEqual((yield* flows.complete(received, { context })).onward, undefined)
      }
      assert.strictEqual((yield* flows.status({ ...owner, id: flow.id })).state, "awaiting_finalize")
      assert.strictEqual((yield* flows.finalize(owner, Redacted.make(code))).state, "completed")
      assert.strictEqual(codes(provider), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("BIND-04 gives the way on to a response that comes twice, however long the first one is verified", () =>
    Effect.gen(function*() {
      const { context, owner, provider, says, seen, verifying } = yield* begun(finalize)
      const taken = yield* Deferred.make<void>()
      verifying((claims) =>
        seen.length > 1
          ? Effect.succeed(claims)
          : Deferred.succeed(taken, undefined).pipe(Effect.andThen(Effect.sleep("4900 millis")), Effect.as(claims))
      )
      const flows = yield* Flows
      const arrive = Effect.forkChild(flows.complete(signed(says), { context }))
      const first = yield* arrive
      yield* Deferred.await(taken)
      const second = yield* arrive
      yield* TestClock.adjust("6 seconds")
      const codeOf = (delivery: Delivery) => onwardOf(delivery).get("completion_code")
      const code = codeOf(yield* Fiber.join(first))!
      assert.strictEqual(codeOf(yield* Fiber.join(second)), code)
      assert.strictEqual((yield* flows.finalize(owner, Redacted.make(code))).state, "completed")
      assert.strictEqual(codes(provider), 1)
    }).pipe(Effect.provide(layer)))

  it.effect("fails a repeated response that is not verified without a word in the log: anybody may send one", () =>
    Effect.gen(function*() {
      const { context, owner, says, verifying } = yield* begun(finalize)
      const flows = yield* Flows
      yield* flows.complete(signed(says), { context })
      verifying(() => Effect.fail(new ResponseError({ code: "response_untrusted" })))
      const logged: Array<unknown> = []
      const again = yield* flows.complete(signed(says), { context }).pipe(
        Effect.provide(Logger.layer([Logger.make(({ message }) => void logged.push(message))]))
      )
      assert.isUndefined(again.onward)
      assert.deepStrictEqual(logged, [])
      assert.strictEqual((yield* flows.status(owner)).state, "awaiting_finalize")
    }).pipe(Effect.provide(layer)))

  it.effect("goes back with the reason where it is not trusted", () =>
    Effect.gen(function*() {
      const { context, owner, says, verifying } = yield* begun(finalize)
      verifying(() => Effect.fail(new ResponseError({ code: "response_untrusted" })))
      const flows = yield* Flows
      const delivery = yield* flows.complete(signed(says), { context })
      assert.strictEqual(onwardOf(delivery).get("error"), "response_untrusted")
      assert.strictEqual((yield* delivery.settled).failure, "response_untrusted")
      assert.strictEqual((yield* flows.status(owner)).state, "failed")
    }).pipe(Effect.provide(layer)))

  it.effect("finishes what it claimed although its browser leaves while it is verified", () =>
    Effect.gen(function*() {
      const { context, owner, says, verifying } = yield* begun(finalize)
      const [begun_, go] = [yield* Deferred.make<void>(), yield* Deferred.make<void>()]
      verifying((claims) => Effect.as(Effect.andThen(Deferred.succeed(begun_, undefined), Deferred.await(go)), claims))
      const flows = yield* Flows
      const request = yield* Effect.forkChild(flows.complete(signed(says), { context }))
      yield* Deferred.await(begun_)
      const leaving = yield* Effect.forkChild(Fiber.interrupt(request))
      yield* Effect.yieldNow
      yield* Deferred.succeed(go, undefined)
      yield* Fiber.join(leaving)
      assert.strictEqual((yield* flows.status(owner)).state, "awaiting_finalize")
    }).pipe(Effect.provide(layer)))
})
