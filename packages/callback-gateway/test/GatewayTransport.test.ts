import { assert, describe, it } from "@effect/vitest"
import { GatewayTransport } from "@valetkey/callback-gateway"
import { type OpenRequest, TransportError } from "@valetkey/domain/CallbackTransport"
import { DocumentTags } from "@valetkey/domain/DocumentTags"
import { FlowId } from "@valetkey/domain/Flow"
import { Effect, Redacted, Scope } from "effect"

const request = (context: string, preferred?: string): OpenRequest => ({
  flowId: FlowId.make("019ab000-0000-7000-8000-000000000001"),
  context,
  preferred,
  deliver: () => Effect.die("a gateway delivers nothing by itself")
})

/** Says what it tagged. */
const tags = DocumentTags.of({
  issue: (context, key) => Effect.succeed(`tag-of-${context}-${key.length}`),
  judge: () => Effect.succeed("foreign")
})

const make = (publicUrl: URL | undefined) =>
  Effect.provideService(GatewayTransport.make({ publicUrl }), DocumentTags, tags)

describe("GatewayTransport", () => {
  it.effect("S2x.7 fails at start with public_url_missing when there is no public URL", () =>
    Effect.gen(function*() {
      const transport = yield* make(undefined)
      const error = yield* Effect.flip(transport.open(request("c")))
      assert.instanceOf(error, TransportError)
      assert.strictEqual(error.code, "public_url_missing")
      assert.include(error.message, "VALETKEY_PUBLIC_URL")
    }).pipe(Effect.scoped))

  it.effect("BIND-06 names the connection context in the redirect URI, the same for each flow of a context", () =>
    Effect.gen(function*() {
      const transport = yield* make(new URL("https://valetkey.example"))
      const one = yield* transport.open(request("context-1"))
      const again = yield* transport.open(request("context-1"))
      const other = yield* transport.open(request("context-2"))
      assert.strictEqual(transport.kind, "gateway")
      assert.strictEqual(one.redirectUri, "https://valetkey.example/callback/context-1")
      assert.strictEqual(again.redirectUri, one.redirectUri)
      assert.strictEqual(other.redirectUri, "https://valetkey.example/callback/context-2")
    }).pipe(Effect.scoped))

  it.effect("leaves what an earlier registration preferred: the public URL alone decides", () =>
    Effect.gen(function*() {
      const transport = yield* make(new URL("https://valetkey.example"))
      const { redirectUri } = yield* transport.open(request("c", "https://old.example/callback"))
      assert.strictEqual(redirectUri, "https://valetkey.example/callback/c")
    }).pipe(Effect.scoped))

  it.effect("REG-09 is described by a document at the configured URL, and by none that nobody else could fetch", () =>
    Effect.gen(function*() {
      const transport = yield* make(new URL("https://example.com/valetkey/"))
      assert.deepStrictEqual(transport.describe?.("c"), {
        clientId: "https://example.com/valetkey/oauth/c/client-metadata.json",
        redirectUri: (yield* transport.open(request("c"))).redirectUri
      })
      for (const publicUrl of [undefined, new URL("http://127.0.0.1:9000")]) {
        assert.isUndefined((yield* make(publicUrl)).describe)
      }
    }).pipe(Effect.scoped))

  it.effect("REG-13 ends the URL of a document that names a key in the tag of both, and has none for another kind of key", () =>
    Effect.gen(function*() {
      const transport = yield* make(new URL("https://example.com/valetkey/"))
      const [x, y] = ["x".repeat(43), "y".repeat(43)]
      assert.deepStrictEqual(yield* transport.describeKeyed!("c", { kty: "EC", crv: "P-256", x, y }), {
        clientId: `https://example.com/valetkey/oauth/c/${x}.${y}.tag-of-c-87/client-metadata.json`,
        redirectUri: "https://example.com/valetkey/callback/c"
      })
      assert.isUndefined(yield* transport.describeKeyed!("c", { kty: "OKP", crv: "Ed25519", x }))
    }))

  it.effect("REG-13 knows the URL of a document that names a key with any tag and with none, and no other", () =>
    Effect.gen(function*() {
      const transport = yield* make(new URL("https://example.com/valetkey/"))
      const [x, y] = ["x".repeat(43), "y".repeat(43)]
      const key = { kty: "EC", crv: "P-256", x, y } as const
      const base = "https://example.com/valetkey/oauth/c"
      for (const segment of [`${x}.${y}`, `${x}.${y}.tag`]) {
        assert.isTrue(transport.isKeyed!(`${base}/${segment}/client-metadata.json`, "c", key), segment)
      }
      for (
        const clientId of [
          "client-1",
          `${base}/client-metadata.json`,
          `${base}/${y}.${x}/client-metadata.json`,
          `${base}/${x}.${y}/jwks.json`,
          `${base}/${x}.${y}/client-metadata.json?more`,
          `${base}d/${x}.${y}/client-metadata.json`,
          `https://other.example/valetkey/oauth/c/${x}.${y}/client-metadata.json`
        ]
      ) assert.isFalse(transport.isKeyed!(clientId, "c", key), clientId)
      assert.isFalse(transport.isKeyed!(`${base}//client-metadata.json`, "c", { kty: "OKP", crv: "Ed25519", x }))
      assert.isUndefined((yield* make(new URL("http://127.0.0.1:9000"))).isKeyed)
    }))

  it.effect("opens nothing: a flow's scope gains no finalizer", () =>
    Effect.gen(function*() {
      const transport = yield* make(new URL("https://valetkey.example"))
      const scope = yield* Scope.make()
      yield* Scope.provide(transport.open(request("c")), scope)
      assert.strictEqual(scope.state._tag, "Empty")
    }))

  it.effect("BIND-01 has a browser bind itself at the public URL before it leaves, below whatever path that has", () =>
    Effect.gen(function*() {
      const transport = yield* make(new URL("https://example.com/valetkey/"))
      const { connectUrl } = yield* transport.open(request("c"))
      assert.strictEqual(
        connectUrl && Redacted.value(connectUrl(Redacted.make("ticket"))),
        "https://example.com/valetkey/connect/ticket"
      )
    }).pipe(Effect.scoped))

  it.effect("keeps the path of the public URL and lets no context leave its segment", () =>
    Effect.sync(() => {
      const at = (url: string, context: string) => GatewayTransport.redirectUri(new URL(url), context)
      assert.strictEqual(at("https://example.com/valetkey/", "c"), "https://example.com/valetkey/callback/c")
      assert.strictEqual(at("https://example.com/?a=b#c", "c"), "https://example.com/callback/c")
      assert.strictEqual(at("https://example.com", "../x?y#z"), "https://example.com/callback/..%2Fx%3Fy%23z")
    }))
})
