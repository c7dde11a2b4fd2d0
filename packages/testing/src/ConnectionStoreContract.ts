import { assert, describe, it, type Vitest } from "@effect/vitest"
import { ConnectionStore } from "@valetkey/domain/ConnectionStore"
import { FlowStore } from "@valetkey/domain/FlowStore"
import type { RevocationOutbox } from "@valetkey/domain/RevocationOutbox"
import { ServerSlug } from "@valetkey/domain/Server"
import { DateTime, Effect, type Layer, Option } from "effect"
import { randomUUID } from "node:crypto"
import * as ConnectionClaim from "./internal/connectionClaimCases.ts"
import * as ConnectionCommit from "./internal/connectionCommitCases.ts"
import * as ConnectionEnding from "./internal/connectionEndingCases.ts"
import * as ConnectionFailure from "./internal/connectionFailureCases.ts"
import { claim, commit, connected, fail, markSent, redeem, reject } from "./internal/connectionSteps.ts"
import * as Fixture from "./internal/contractFixtures.ts"
import * as FormerLife from "./internal/formerLifeCases.ts"
import * as RefreshHistories from "./internal/refreshHistories.ts"
import * as SetBack from "./internal/setBackCases.ts"

/** Runs the contract of `ConnectionStore` on a layer; a disconnect is observed through the other ports of the same layer. */
export const suite = <R>(
  name: string,
  layer: Layer.Layer<ConnectionStore | FlowStore | RevocationOutbox | R, unknown>,
  options: Fixture.ContractOptions<R>
): void => {
  describe(`ConnectionStore (${name})`, () => it.layer(layer, { timeout: "60 seconds" })((it) => cases(it, options)))
}

/** The cases of the contract, for a suite that shares its layer with others. */
export const cases = <R>(
  it: Vitest.MethodsNonLive<ConnectionStore | FlowStore | RevocationOutbox | R>,
  options: Fixture.ContractOptions<R>
): void => {
  describe("deposit, get and list", () => {
    it.effect("TIME-06 keeps moments to the millisecond, beyond 2038 and up to the year 9999", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        for (const moment of ["2038-01-19T03:14:08.001Z", "2106-02-07T06:28:16.999Z", "9999-12-31T23:59:59.999Z"]) {
          const key = Fixture.newKey()
          const write = Fixture.newWrite(0)
          const expiresAt = DateTime.makeUnsafe(moment)
          yield* connections.deposit(key, { ...write, credentials: { ...write.credentials, expiresAt } })
          const { credentials } = Option.getOrThrow(yield* connections.get(key))
          assert.strictEqual(DateTime.formatIso(credentials.expiresAt!), moment)
        }
      }))

    it.effect("gives back what was deposited, as generation 1", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const write = Fixture.newWrite(0)
        assert.isTrue(yield* connections.deposit(key, write))
        const read = Option.getOrThrow(yield* connections.get(key))
        const view = Fixture.connectionView(read)
        assert.deepStrictEqual(view, {
          key: key.path,
          epoch: write.epoch,
          generation: Fixture.generation(1),
          status: { _tag: "active" },
          grant: write.grant,
          clientSecret: Fixture.hex(write.clientSecret),
          account: Fixture.hex(write.account),
          credentials: Fixture.credentialsView(write.credentials),
          rejected: false,
          forced: false,
          grantedAt: view.createdAt,
          createdAt: view.createdAt,
          updatedAt: view.createdAt
        })
      }))

    it.effect("S1.12 gives back credentials without refresh token, scopes and expiry", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const { accessToken, issuedAt, tokenType } = Fixture.newCredentials()
        const { issuer, tokenEndpoint, clientId } = Fixture.newGrant()
        const grant = { issuer, tokenEndpoint, clientId, authMethod: "none", redemptionPolicy: "strict" } as const
        const credentials = { accessToken, issuedAt, tokenType }
        yield* connections.deposit(key, { epoch: Fixture.newEpoch(), previous: 0, grant, credentials })
        const read = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual(Fixture.credentialsView(read.credentials), Fixture.credentialsView(credentials))
        assert.deepStrictEqual(read.grant, grant)
        assert.isUndefined(read.clientSecret)
      }))

    it.effect("BIND-13 keeps the account through a refresh, and replaces it with the credentials, by none as well", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const flows = yield* FlowStore
        const { epoch, key, write } = yield* connected
        const account = Effect.map(connections.get(key), (found) => {
          const { account } = Option.getOrThrow(found)
          return account && Fixture.hex(account)
        })
        yield* redeem(key, 1, epoch)
        assert.strictEqual(yield* account, Fixture.hex(write.account))
        const { claimed, id } = yield* Fixture.exchangingFlow(key)
        const consent = Fixture.newWrite(2)
        assert.strictEqual((yield* flows.complete(id, claimed.fence, consent))._tag, "Completed")
        assert.strictEqual(yield* account, Fixture.hex(consent.account))
        const { account: _, ...nameless } = Fixture.newWrite(3)
        assert.isTrue(yield* connections.deposit(key, nameless))
        assert.isUndefined(yield* account)
      }))

    it.effect("I4 S3.6 deposits over the generation that the caller saw, and over no other", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        assert.isFalse(yield* connections.deposit(key, Fixture.newWrite(1)))
        assert.isTrue(Option.isNone(yield* connections.get(key)))
        yield* connections.deposit(key, Fixture.newWrite(0))
        const read = Effect.map(connections.get(key), Option.map(Fixture.connectionView))
        const before = yield* read
        for (const previous of [0, 2]) {
          assert.isFalse(yield* connections.deposit(key, Fixture.newWrite(previous)))
          assert.deepStrictEqual(yield* read, before)
        }
        const next = Fixture.newWrite(1)
        assert.isTrue(yield* connections.deposit(key, next))
        const after = Option.getOrThrow(yield* connections.get(key))
        assert.deepStrictEqual([after.generation, after.epoch], [Fixture.generation(2), next.epoch])
      }))

    it.effect("keeps how long a consent lasts when it is deposited again, given at the same moment", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const [grantedAt, refreshExpiresAt] = ["2030-01-01T00:00:00.000Z", "2031-01-01T00:00:00.000Z"] as const
        for (const previous of [0, 1, 2]) {
          const write = Fixture.newWrite(previous)
          const credentials = { ...write.credentials, refreshExpiresAt: DateTime.makeUnsafe(refreshExpiresAt) }
          yield* connections.deposit(key, { ...write, credentials, grantedAt: DateTime.makeUnsafe(grantedAt) })
          const read = Option.getOrThrow(yield* connections.get(key))
          assert.strictEqual(read.generation, previous + 1)
          assert.strictEqual(read.grantedAt && DateTime.formatIso(read.grantedAt), grantedAt)
          assert.strictEqual(
            read.credentials.refreshExpiresAt && DateTime.formatIso(read.credentials.refreshExpiresAt),
            refreshExpiresAt
          )
        }
      }))

    it.effect("I4 lets one of ten concurrent depositors win", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        for (const previous of [0, 1]) {
          const writes = Array.from({ length: 10 }, () => Fixture.newWrite(previous))
          const all = yield* Effect.all(writes.map((write) => connections.deposit(key, write)), {
            concurrency: "unbounded"
          })
          assert.strictEqual(all.filter((won) => won).length, 1)
          const read = Option.getOrThrow(yield* connections.get(key))
          assert.strictEqual(read.epoch, writes[all.indexOf(true)]!.epoch)
          assert.strictEqual(read.generation, Fixture.generation(previous + 1))
        }
      }))

    it.effect("S4.63 S4.68 I10 keeps tenants, subjects and servers apart", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        const { server, subject, tenant } = key
        const others = [
          Fixture.newKey({ tenant, subject }),
          Fixture.newKey({ tenant, server }),
          Fixture.newKey({ subject, server })
        ]
        yield* connections.deposit(key, Fixture.newWrite(0))
        for (const other of others) {
          assert.isTrue(Option.isNone(yield* connections.get(other)))
          assert.strictEqual((yield* claim(other, 1))._tag, "Moved")
          assert.isFalse(yield* connections.disconnect(other, Fixture.newEpoch()))
        }
        assert.strictEqual(Option.getOrThrow(yield* connections.get(key)).status._tag, "active")
      }))

    it.effect("I10 lists the owner's connections alone, by slug, page after page", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const owner = Fixture.newKey()
        const { subject, tenant } = owner
        // Sorted by code point; a locale would put them in another order.
        const slugs = ["a", "a-b", "a.b", "a0", "a_b", "aa", "b"]
        for (const server of [...slugs].reverse()) {
          yield* connections.deposit(Fixture.newKey({ tenant, subject, server }), Fixture.newWrite(0))
        }
        yield* connections.deposit(Fixture.newKey({ tenant, server: "a" }), Fixture.newWrite(0))
        yield* connections.deposit(Fixture.newKey({ subject, server: "a" }), Fixture.newWrite(0))
        const page = (after: string | undefined, limit: number) =>
          Effect.map(
            connections.list({
              tenant,
              subject,
              after: after === undefined ? undefined : ServerSlug.make(after),
              limit
            }),
            (found) => found.map((one) => String(one.key.server))
          )
        assert.deepStrictEqual(yield* page(undefined, 100), slugs)
        assert.deepStrictEqual(yield* page(undefined, 3), slugs.slice(0, 3))
        assert.deepStrictEqual(yield* page("a.b", 3), slugs.slice(3, 6))
        assert.deepStrictEqual(yield* page("a-c", 1), ["a.b"])
        assert.deepStrictEqual(yield* page("b", 3), [])
        const [first] = yield* connections.list({ tenant, subject, after: undefined, limit: 1 })
        const got = yield* connections.get(Fixture.newKey({ tenant, subject, server: "a" }))
        assert.deepStrictEqual(first && Fixture.connectionView(first), Fixture.connectionView(Option.getOrThrow(got)))
      }))

    it.effect("S1.14 S3.6 knows nothing of an unknown connection and creates none", () =>
      Effect.gen(function*() {
        const connections = yield* ConnectionStore
        const key = Fixture.newKey()
        assert.strictEqual((yield* claim(key, 1))._tag, "Moved")
        assert.isFalse(yield* markSent(key, 1, 1))
        assert.isFalse(yield* fail(key, 1, 1, { _tag: "UnknownOutcome" }))
        assert.isFalse((yield* commit(key, 1, Fixture.newEpoch())).stored)
        assert.isFalse(yield* connections.isCommitted(key, randomUUID()))
        yield* reject(key, 1)
        assert.isFalse(yield* connections.disconnect(key, Fixture.newEpoch()))
        assert.isTrue(Option.isNone(yield* connections.get(key)))
        assert.deepStrictEqual(
          yield* connections.list({ ...Fixture.ownerOf(key), after: undefined, limit: 10 }),
          []
        )
      }))
  })

  ConnectionEnding.cases(it, options)
  ConnectionClaim.cases(it, options)
  ConnectionCommit.cases(it, options)
  ConnectionFailure.cases(it, options)
  FormerLife.cases(it)
  describe("a clock that was set back", () => SetBack.ofRefreshes(it, options))
  RefreshHistories.cases(it, options)
}
