import { assert, describe, it } from "@effect/vitest"
import { ApiProblem } from "@valetkey/api/ApiProblem"
import type { ConnectionView, HistoryEvent } from "@valetkey/api/ConnectionsApi"
import { Generation } from "@valetkey/domain/Connection"
import { type ConsoleSession, ConsoleSessionId } from "@valetkey/domain/ConsoleSession"
import { Digest } from "@valetkey/domain/Entropy"
import { ServerSlug } from "@valetkey/domain/Server"
import type { SubjectId } from "@valetkey/domain/Subject"
import type { TenantId } from "@valetkey/domain/Tenant"
import { DateTime, Effect } from "effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as ConsolePage from "../src/ConsolePage.ts"
import { builtIn } from "../src/Languages.ts"

const at = DateTime.makeUnsafe(0)

const attacks = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "\"><svg onload=alert(1)>",
  "' autofocus onfocus=alert(1) x='",
  "</bdi></dd></dl><form action=https://evil.example>",
  "{server}{whose}{time}"
]

/** Every page of a session with this text wherever somebody else may choose one. */
const pages = (text: string): ReadonlyArray<HttpServerResponse.HttpServerResponse> => {
  const session: ConsoleSession = {
    id: ConsoleSessionId.make("id"),
    tenant: text as TenantId,
    subject: text as SubjectId,
    scopes: ["connections:read", "connections:write", "flows:write"],
    createdAt: at,
    expiresAt: at
  }
  const connection: ConnectionView = {
    server: ServerSlug.make("notes"),
    status: "active",
    issuer: text,
    clientId: text,
    tokenType: text,
    scopes: [text],
    account: { issuer: text, id: text, label: text },
    generation: Generation.make(1),
    createdAt: at,
    updatedAt: at,
    expiresAt: at,
    lastUsedAt: at
  }
  const event = (action: HistoryEvent["action"]): HistoryEvent => ({
    id: Digest.make("A".repeat(43)),
    at,
    action,
    outcome: text,
    principal: "system",
    from: "process",
    answer: text,
    fingerprint: text
  })
  const actions = ["flow.settled", "token.refresh_failed", "connection.revoked", "connection.needs_consent"] as const
  const events = [...actions, "audit.pruned" as const].map(event)
  return builtIn.flatMap((texts) => {
    const frame: ConsolePage.Signed = { texts, basePath: "", session, token: "token" }
    return [
      ConsolePage.connections(frame, {
        connections: [connection],
        after: undefined,
        next: text,
        past: undefined,
        nextPast: text,
        servers: [{ server: ServerSlug.make("mail"), resource: text, name: text, quirks: {} }]
      }),
      ConsolePage.connection(frame, "notes", {
        connection,
        history: { events, lastUsedAt: at, next: Digest.make("A".repeat(43)) }
      }),
      ConsolePage.problem(frame, ApiProblem.of("flow_conflict", text))
    ]
  })
}

describe("the pages of the console", () => {
  it.effect("WEB-02 show every text of somebody else as text, in whatever place it stands", () =>
    Effect.gen(function*() {
      for (const attack of attacks) {
        for (const page of pages(attack)) {
          const text = yield* Effect.promise(() => HttpServerResponse.toWeb(page).text())
          assert.notMatch(text, /<(script|img|svg|form action)/i)
          assert.notMatch(text, /<[^>]+\son\w+=/i)
          assert.include(
            text,
            attack.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
              .replaceAll("\"", "&quot;").replaceAll("'", "&#39;")
          )
        }
      }
    }))

  it.effect("offer the next page by a link of this origin alone", () =>
    Effect.gen(function*() {
      const [first] = pages("javascript:alert(1)")
      const text = yield* Effect.promise(() => HttpServerResponse.toWeb(first!).text())
      const links = [...text.matchAll(/href="([^"]*)"/g)].map(([, href]) => href)
      assert.deepStrictEqual(links, [
        "/connections/notes",
        "/connections?after=javascript%3Aalert%281%29",
        "/connections/mail/connect",
        "/connections?past=javascript%3Aalert%281%29"
      ])
    }))
})
