import { assert, describe, it } from "@effect/vitest"
import { isFresh } from "@valetkey/domain/Credentials"
import { TokenResponse } from "@valetkey/oauth"
import { DateTime, Duration, Effect, Redacted } from "effect"

const issuedAt = DateTime.makeUnsafe(1_000_000)

/** Decodes a body the way a redemption does; undefined when it holds no usable credentials. */
const decode = (body: string, contentType = "application/json", status = 200) =>
  Effect.promise(async () => {
    const answer = await TokenResponse.read(new Response(body, { status, headers: { "content-type": contentType } }))
    const strict = TokenResponse.normalize(answer)
    return strict === undefined
      ? undefined
      : TokenResponse.toCredentials(await strict.json() as Parameters<typeof TokenResponse.toCredentials>[0], issuedAt)
  })

const json = (members: Readonly<Record<string, unknown>>) =>
  decode(JSON.stringify({ access_token: "at", token_type: "Bearer", ...members }))

/** Seconds from issue to expiry; undefined when unknown. */
const lifetimeOf = (expiresIn: string) =>
  Effect.map(
    decode(`{"access_token":"at","token_type":"Bearer","expires_in":${expiresIn}}`),
    (credentials) =>
      credentials?.expiresAt === undefined
        ? undefined
        : (DateTime.toEpochMillis(credentials.expiresAt) - DateTime.toEpochMillis(issuedAt)) / 1000
  )

describe("TokenResponse", () => {
  it.effect("S1x.12 S3x.8 TOK-01 TOK-02 TOK-03 TOK-04 reads every way to say when a token expires", () =>
    Effect.gen(function*() {
      const most = 400 * 86_400
      const table: ReadonlyArray<readonly [string, number | undefined]> = [
        ["3600", 3600],
        ["\"3600\"", 3600],
        ["3599.9", 3599],
        ["0", 0],
        ["-5", 0],
        ["\"-1\"", 0],
        ["1e400", most],
        ["9007199254740992", most],
        ["99999999999", most],
        ["\"99999999999999999999999\"", most],
        ["\"3600abc\"", undefined],
        ["\"\"", undefined],
        ["\"NaN\"", undefined],
        ["null", undefined],
        ["true", undefined],
        ["[]", undefined],
        ["[3600]", undefined],
        ["{}", undefined]
      ]
      for (const [written, seconds] of table) assert.strictEqual(yield* lifetimeOf(written), seconds, written)
      assert.isUndefined((yield* json({}))?.expiresAt)
    }))

  it.effect("REF-21 reads every way to say when a refresh token ends, and zero as never", () =>
    Effect.gen(function*() {
      const most = 3650 * 86_400
      const secondsOf = (members: Readonly<Record<string, unknown>>) =>
        Effect.map(json({ refresh_token: "rt", ...members }), (credentials) =>
          credentials?.refreshExpiresAt &&
          Duration.toSeconds(DateTime.distance(issuedAt, credentials.refreshExpiresAt)))
      const names = ["refresh_token_expires_in", "refresh_expires_in", "x_refresh_token_expires_in"]
      for (const name of names) {
        assert.strictEqual(yield* secondsOf({ [name]: 15_811_200 }), 15_811_200)
        assert.strictEqual(yield* secondsOf({ [name]: "1800" }), 1800)
        assert.strictEqual(yield* secondsOf({ [name]: 1e300 }), most)
        for (const none of [0, "0", -5, null, "soon", [], {}]) {
          assert.isUndefined(yield* secondsOf({ [name]: none }), `${name} ${String(none)}`)
        }
      }
      assert.isUndefined(yield* secondsOf({ expires_in: 60 }))
      assert.strictEqual(yield* secondsOf({ refresh_expires_in: 5, refresh_token_expires_in: 7 }), 7)
      assert.strictEqual(yield* secondsOf({ refresh_expires_in: 5, refresh_token_expires_in: null }), 5)
    }))

  it.effect("S4.12 S4.13 has a token expire only when it says when, and then it does", () =>
    Effect.gen(function*() {
      const fresh = (credentials: Parameters<typeof isFresh>[0], seconds: number) =>
        isFresh(credentials, Duration.zero, DateTime.add(issuedAt, { seconds }))
      const unknown = [undefined, null, "soon", "NaN", true, {}, [], [3600]]
      for (const expires_in of unknown) {
        assert.isTrue(fresh((yield* json({ expires_in }))!, 10 * 365 * 86_400), JSON.stringify(expires_in))
      }
      for (const expires_in of [60, "60"]) {
        const credentials = (yield* json({ expires_in }))!
        assert.deepStrictEqual([59, 60, 61, 3600].map((seconds) => fresh(credentials, seconds)), [
          true,
          false,
          false,
          false
        ])
      }
    }))

  it.effect("S1x.12 TOK-06 takes a missing token type as Bearer, whatever its case", () =>
    Effect.gen(function*() {
      for (const token_type of [undefined, null, "", "bearer", "BEARER", "Bearer"]) {
        assert.strictEqual((yield* json({ token_type }))?.tokenType, "Bearer")
      }
    }))

  it.effect("S1x.12 TOK-15 refuses an answer without an access token that fits a header", () =>
    Effect.gen(function*() {
      for (const access_token of [undefined, null, "", 1, {}, "a b", "a\r\nx: y", "a\u0000", "é"]) {
        assert.isUndefined(yield* json({ access_token }), JSON.stringify(access_token))
      }
      assert.isUndefined(yield* json({ refresh_token: "a\r\nb" }))
      assert.isUndefined(yield* json({ refresh_token: 7 }))
    }))

  it.effect("S1.12 TOK-08 leaves an omitted, null or empty refresh token out", () =>
    Effect.gen(function*() {
      for (const refresh_token of [undefined, null, ""]) {
        assert.isUndefined((yield* json({ refresh_token }))?.refreshToken)
      }
      const kept = (yield* json({ refresh_token: "rt" }))?.refreshToken
      assert.strictEqual(kept === undefined ? undefined : Redacted.value(kept), "rt")
    }))

  it.effect("S1.36 S1.37 S2x.11 TOK-07 splits scopes at spaces and commas and omits an empty list", () =>
    Effect.gen(function*() {
      const table: ReadonlyArray<readonly [unknown, ReadonlyArray<string> | undefined]> = [
        [" a  b ", ["a", "b"]],
        ["a\tb", ["a", "b"]],
        ["repo,gist", ["repo", "gist"]],
        ["repo, gist", ["repo", "gist"]],
        ["a+b", ["a", "b"]],
        [["a", "", 7, "b"], ["a", "b"]],
        ["a a", ["a"]],
        ["", undefined],
        [" ", undefined],
        [",", undefined],
        [[], undefined],
        [null, undefined],
        [undefined, undefined],
        [7, undefined]
      ]
      for (const [scope, scopes] of table) {
        assert.deepStrictEqual((yield* json({ scope }))?.scopes, scopes, JSON.stringify(scope))
      }
    }))

  it.effect("TOK-11 S2x.11 reads forms, and JSON under any content type", () =>
    Effect.gen(function*() {
      const form = "access_token=gho_x&expires_in=28800&refresh_token=ghr_y&scope=repo%2Cgist&token_type=bearer"
      for (const type of ["application/x-www-form-urlencoded; charset=utf-8", "text/plain", ""]) {
        const credentials = yield* decode(form, type)
        assert.deepStrictEqual(credentials?.scopes, ["repo", "gist"], type)
        assert.strictEqual(Redacted.value(credentials!.accessToken), "gho_x")
      }
      const body = JSON.stringify({ access_token: "at" })
      for (const type of ["text/html", "text/javascript", "application/x-www-form-urlencoded", "application/json"]) {
        assert.isDefined(yield* decode(`\uFEFF ${body}\n`, type), type)
      }
    }))

  it.effect("TOK-10 finds the error in an answer of any status and shape", () =>
    Effect.gen(function*() {
      const table: ReadonlyArray<readonly [string, string | undefined]> = [
        ["{\"error\":\"bad_refresh_token\"}", "bad_refresh_token"],
        ["{\"ok\":false,\"error\":\"invalid_refresh_token\"}", "invalid_refresh_token"],
        ["{\"ok\":false}", "unknown"],
        ["{\"error\":{\"code\":400}}", "unknown"],
        ["{\"ok\":true,\"access_token\":\"at\"}", undefined],
        ["{\"error\":null,\"access_token\":\"at\"}", undefined],
        ["{\"error\":\"\",\"access_token\":\"at\"}", undefined],
        ["<html>", undefined]
      ]
      for (const [body, error] of table) {
        const answer = yield* Effect.promise(() => TokenResponse.read(new Response(body)))
        assert.strictEqual(TokenResponse.errorOf(answer), error, body)
      }
    }))

  it.effect("TOK-12 TOK-26 DISC-18 takes hostile bodies for what they are: nothing", () =>
    Effect.gen(function*() {
      const nested = `${"[".repeat(10_000)}${"]".repeat(10_000)}`
      const bodies = ["", "null", "[]", "\"x\"", "{\"access_token\":\"at\"", "<!doctype html>", nested]
      for (const body of [...bodies, "access_token=a&access_token=b"]) {
        assert.isUndefined(yield* decode(body, "text/plain"), body.slice(0, 40))
      }
      const polluted = yield* decode(`{"__proto__":{"access_token":"evil"},"token_type":"Bearer"}`)
      assert.isUndefined(polluted)
      assert.notProperty({}, "access_token")
      const twice = yield* decode(`{"access_token":"a","access_token":"b"}`)
      assert.strictEqual(Redacted.value(twice!.accessToken), "b")
    }))

  it.effect("TOK-05 takes no other way to say when a token expires, and the standard one when several are there", () =>
    Effect.gen(function*() {
      const others: ReadonlyArray<readonly [string, unknown]> = [
        ["expires", 7200],
        ["expires_at", 1_900_000_000],
        ["expires_at", 1_900_000_000_000],
        ["expires_at", "2030-01-01T00:00:00Z"],
        ["issued_at", 1_600_000_000]
      ]
      for (const [name, value] of others) {
        assert.isUndefined((yield* json({ [name]: value }))?.expiresAt, name)
        const both = yield* json({ [name]: value, expires_in: 3600 })
        assert.deepStrictEqual(both?.expiresAt, DateTime.add(issuedAt, { seconds: 3600 }), name)
        assert.deepStrictEqual(both?.issuedAt, issuedAt)
      }
    }))

  it.effect("TOK-16 accepts a token of 16 kB", () =>
    Effect.gen(function*() {
      const access_token = "t".repeat(16_384)
      assert.strictEqual(Redacted.value((yield* json({ access_token }))!.accessToken), access_token)
    }))

  it.effect("TOK-24 drops members that it does not know, secret-bearing ones included, and an ID token that nobody asked for", () =>
    Effect.gen(function*() {
      const answer = yield* Effect.promise(() =>
        TokenResponse.read(Response.json({
          access_token: "at",
          id_token: "eyJ.x.y",
          authed_user: { access_token: "xoxp-other" }
        }))
      )
      const strict: Record<string, unknown> = yield* Effect.promise(() => TokenResponse.normalize(answer)!.json())
      assert.sameMembers(Object.keys(strict), ["access_token", "token_type"])
      const asked = TokenResponse.normalize(answer, { idToken: true })!
      const whole: Record<string, unknown> = yield* Effect.promise(() => asked.json())
      assert.sameMembers(Object.keys(whole), ["access_token", "token_type", "id_token"])
    }))

  it.effect("takes an answer that nests deeper than any honest one for unreadable, brackets in strings aside", () =>
    Effect.gen(function*() {
      const nested = (levels: number) => JSON.parse("[".repeat(levels) + "]".repeat(levels)) as unknown
      assert.isDefined(yield* json({ scope: nested(31) }))
      assert.isUndefined(yield* json({ scope: nested(32) }))
      assert.isDefined(yield* json({ hint: `${"[{".repeat(100)}\\"${"[{".repeat(100)}`, more: [{}, {}, {}] }))
      assert.isDefined(yield* json({ siblings: Array.from({ length: 200 }, () => ({ a: [] })) }))
    }))
})
