import { AccessTokens } from "@valetkey/domain/AccessTokens"
import { AuditTrail } from "@valetkey/domain/AuditTrail"
import { AuthorizationServer } from "@valetkey/domain/AuthorizationServer"
import { ConnectionKey } from "@valetkey/domain/Connection"
import { Connections } from "@valetkey/domain/Connections"
import { ServerSlug } from "@valetkey/domain/Server"
import { SubjectId } from "@valetkey/domain/Subject"
import { TenantId } from "@valetkey/domain/Tenant"
import * as KeyRingCipher from "@valetkey/keyring/KeyRingCipher"
import * as KeyRingFingerprints from "@valetkey/keyring/KeyRingFingerprints"
import * as KeySource from "@valetkey/keyring/KeySource"
import * as NodeEntropy from "@valetkey/keyring/NodeEntropy"
import * as MemoryStore from "@valetkey/store-memory/MemoryStore"
import { DateTime, Effect, Layer, Redacted } from "effect"
import { createCipheriv, createDecipheriv, createSecretKey, hkdfSync, randomBytes } from "node:crypto"
import { race } from "./Race.ts"
import type { Section } from "./Table.ts"

const calls = 5000
const connections = 100
const token = randomBytes(768).toString("base64url")
const root = randomBytes(32)
const associated = randomBytes(190)

/** Handing out a stored token of 1 kB in process, beside opening it with Node's synchronous HKDF and AES-256-GCM. */
export const vending = (rounds: number): Promise<Section> =>
  Effect.gen(function*() {
    const tokens = yield* AccessTokens
    const keys = yield* deposited
    const run = Effect.runPromiseWith(yield* Effect.context<never>())
    const handedOut = Effect.gen(function*() {
      for (let n = 0; n < calls; n++) {
        const { accessToken } = yield* tokens.get(keys[n % connections]!)
        if (Redacted.value(accessToken) !== token) return yield* Effect.die("another token came back")
      }
    })
    const figures = yield* Effect.promise(() =>
      race(rounds, [
        ["bare HKDF and AES-256-GCM", () => perSecond(() => Promise.resolve(bare(false)))],
        ["bare AES-256-GCM, derived key kept", () => perSecond(() => Promise.resolve(bare(true)))],
        ["AccessTokens.get", () => perSecond(() => run(handedOut))]
      ])
    )
    return {
      title: "stored tokens handed out in process",
      unit: "per second",
      figures,
      limits: { "AccessTokens.get": { atLeast: 0.75 } }
    }
  }).pipe(Effect.provide(layer), Effect.scoped, Effect.runPromise)

const layer = Layer.mergeAll(AccessTokens.layer(), Connections.layer).pipe(
  Layer.provide(AuditTrail.layer()),
  Layer.provide(Layer.succeed(
    AuthorizationServer,
    // Every stored token is fresh: whoever calls out here measures something else.
    new Proxy({} as AuthorizationServer["Service"], {
      get: () => () => Effect.die("the bench has no provider")
    })
  )),
  Layer.provide(Layer.suspend(() => {
    const source = KeySource.fromText(Redacted.make(`1:${root.toString("base64")}`))
    const options = { instanceId: "bench", source }
    return Layer.merge(KeyRingCipher.layer(options), KeyRingFingerprints.layer(options))
  })),
  Layer.provide([MemoryStore.layer, NodeEntropy.layer])
)

const deposited = Effect.gen(function*() {
  const store = yield* Connections
  const issuedAt = yield* DateTime.now
  return yield* Effect.forEach(Array.from({ length: connections }), (_, n) => {
    const key = new ConnectionKey({
      tenant: TenantId.make("bench"),
      subject: SubjectId.make(`subject-${n}`),
      server: ServerSlug.make("notes")
    })
    return Effect.as(
      store.deposit(key, {
        grant: {
          issuer: "https://as.example",
          tokenEndpoint: "https://as.example/token",
          clientId: "bench",
          authMethod: "none",
          redemptionPolicy: "retry-once"
        },
        credentials: {
          accessToken: Redacted.make(token),
          tokenType: "Bearer",
          scopes: ["read"],
          issuedAt,
          expiresAt: DateTime.add(issuedAt, { hours: 24 })
        }
      }),
      key
    )
  })
})

const perSecond = async (work: () => Promise<void>): Promise<number> => {
  const begun = performance.now()
  await work()
  return calls * 1000 / (performance.now() - begun)
}

const bare = (kept: boolean): void => {
  for (let n = 0; n < calls; n++) {
    const { nonce, salt, sealed, tag } = envelopes[n % connections]!
    const decipher = createDecipheriv("aes-256-gcm", kept ? keyOf(salt) : derive(salt), nonce, { authTagLength: 16 })
    decipher.setAAD(associated)
    decipher.setAuthTag(tag)
    const opened = Buffer.concat([decipher.update(sealed), decipher.final()]).toString("utf8")
    if (opened !== token) throw new Error("another token came back")
  }
}

const rootKey = createSecretKey(root)
const derive = (salt: Buffer) =>
  createSecretKey(Buffer.from(hkdfSync("sha256", rootKey, salt, "valetkey/bench", 64), 0, 32))

const derived = new Map<Buffer, ReturnType<typeof derive>>()
const keyOf = (salt: Buffer) => {
  const known = derived.get(salt) ?? derive(salt)
  derived.set(salt, known)
  return known
}

const envelopes = Array.from({ length: connections }, () => {
  const salt = randomBytes(32)
  const nonce = randomBytes(12)
  const cipher = createCipheriv("aes-256-gcm", derive(salt), nonce, { authTagLength: 16 })
  cipher.setAAD(associated)
  const sealed = Buffer.concat([cipher.update(token, "utf8"), cipher.final()])
  return { salt, nonce, sealed, tag: cipher.getAuthTag() }
})
