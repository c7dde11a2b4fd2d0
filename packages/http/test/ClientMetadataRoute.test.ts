import { assert, describe, it } from "@effect/vitest"
import { DocumentTags } from "@valetkey/domain/DocumentTags"
import { RegistrationStore } from "@valetkey/domain/RegistrationStore"
import { ServerSlug } from "@valetkey/domain/Server"
import { TenantId } from "@valetkey/domain/Tenant"
import { Effect } from "effect"
import { generateKeyPairSync } from "node:crypto"
import { caller, deposit } from "./Caller.ts"
import { layer } from "./Harness.ts"
import { send } from "./Http.ts"
import { publicOrigin } from "./Script.ts"

/** A key as a path writes it. */
const newPoint = (): string => {
  const { x, y } = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey.export({ format: "jwk" })
  return `${x}.${y}`
}

const context = "a-context"
const pathsOf = (segment: string, at = context) =>
  ["client-metadata.json", "jwks.json"].map((name) => `/oauth/${at}/${segment}/${name}`)
const statusesOf = (segment: string, at = context) =>
  Effect.forEach(pathsOf(segment, at), (path) => Effect.map(send("GET", path), ({ status }) => status))

const gatewayKey = {
  tenant: TenantId.make("acme"),
  server: ServerSlug.make("notes"),
  issuer: "https://as.example",
  transport: "gateway" as const
}

describe("the documents of a client that signs", () => {
  it.effect("REG-13 name no key but those that this installation made: a stranger's is no document of this origin", () =>
    Effect.gen(function*() {
      const tags = yield* DocumentTags
      const [ours, theirs] = [newPoint(), newPoint()]
      const tag = yield* tags.issue(context, ours)
      const [document, keys] = yield* Effect.forEach(pathsOf(`${ours}.${tag}`), (path) => send("GET", path))
      assert.strictEqual(document!.json["client_id"], `${publicOrigin}${pathsOf(`${ours}.${tag}`)[0]}`)
      assert.strictEqual(document!.json["jwks_uri"], `${publicOrigin}${pathsOf(`${ours}.${tag}`)[1]}`)
      const [jwk] = keys!.json["keys"] as ReadonlyArray<{ readonly x: string; readonly y: string }>
      assert.strictEqual(`${jwk?.x}.${jwk?.y}`, ours)

      const junk = Buffer.from(tag, "base64url").fill(0, 19).toString("base64url")
      for (const segment of [theirs, `${theirs}.${tag}`, `${ours}.${junk}`, `${ours}.${tag}.${tag}`, ours]) {
        assert.deepStrictEqual(yield* statusesOf(segment), [404, 404], segment)
      }
      assert.deepStrictEqual(yield* statusesOf(`${ours}.${tag}`, "another-context"), [404, 404])
    }).pipe(Effect.provide(layer())))

  it.effect("REG-13 stay where they were for a client on record, whose URL an earlier version wrote without a tag", () =>
    Effect.gen(function*() {
      const registrations = yield* RegistrationStore
      const point = newPoint()
      const absent = yield* send("GET", pathsOf(point)[0]!)
      assert.deepStrictEqual([absent.status, absent.headers.get("cache-control")], [404, "no-store"])
      yield* registrations.record(gatewayKey.tenant, `${publicOrigin}${pathsOf(point)[0]}`)
      assert.deepStrictEqual(yield* statusesOf(point), [200, 200])
      assert.deepStrictEqual(yield* statusesOf(point, "another-context"), [404, 404])
    }).pipe(Effect.provide(layer())))

  it.effect("REG-13 vouch for no key that a caller brings for a client id of this origin, whatever a deposit or a registration says", () =>
    Effect.gen(function*() {
      const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
      const jwk = privateKey.export({ format: "jwk" })
      const point = `${jwk.x}.${jwk.y}`
      const client = {
        clientId: `${publicOrigin}${pathsOf(point)[0]}`,
        authMethod: "private_key_jwt",
        clientSecret: JSON.stringify(jwk)
      }
      const ada = yield* caller()
      const deposited = yield* ada.put("/v1/connections/notes", deposit({ issuer: "https://as.example", ...client }))
      assert.strictEqual(deposited.status, 201)
      assert.deepStrictEqual(yield* statusesOf(point), [404, 404])
      const registrations = yield* RegistrationStore
      // What an authorization server answered to a registration is its word, not ours.
      yield* registrations.put(gatewayKey, { clientId: client.clientId, authMethod: "private_key_jwt", scopes: [] })
      assert.deepStrictEqual(yield* statusesOf(point), [404, 404])
    }).pipe(Effect.provide(layer())))

  it.effect("are found for those who have clients on record, however many strangers ask for others", () =>
    Effect.gen(function*() {
      const registrations = yield* RegistrationStore
      const points = Array.from({ length: 60 }, newPoint)
      yield* Effect.forEach(
        points,
        (point) => registrations.record(gatewayKey.tenant, `${publicOrigin}${pathsOf(point)[0]}`)
      )
      // More than are looked up in vain, all in one second of the test's clock.
      for (const point of points) assert.deepStrictEqual(yield* statusesOf(point), [200, 200])
      const strangers = yield* Effect.forEach(Array.from({ length: 60 }), () => send("GET", pathsOf(newPoint())[1]!))
      assert.include(strangers.map(({ status }) => status), 503)
      for (const point of points) assert.deepStrictEqual(yield* statusesOf(point), [200, 200])
    }).pipe(Effect.provide(layer())))

  it.effect("look into the record for strangers fifty times a second, and say then that they cannot tell now", () =>
    Effect.gen(function*() {
      const statuses = yield* Effect.forEach(Array.from({ length: 60 }), () => send("GET", pathsOf(newPoint())[1]!))
      assert.lengthOf(statuses.filter(({ status }) => status === 404), 50)
      const late = statuses.filter(({ status }) => status === 503)
      assert.lengthOf(late, 10)
      assert.strictEqual(late[0]?.headers.get("retry-after"), "1")
      assert.strictEqual(late[0]?.headers.get("cache-control"), "no-store")
      // What this installation made needs no record.
      const ours = newPoint()
      const tag = yield* (yield* DocumentTags).issue(context, ours)
      assert.deepStrictEqual(yield* statusesOf(`${ours}.${tag}`), [200, 200])
    }).pipe(Effect.provide(layer())))
})
