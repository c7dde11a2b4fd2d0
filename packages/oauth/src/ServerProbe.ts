import { type AuthorizationServerMetadata, DiscoveryError } from "@valetkey/domain/AuthorizationServer"
import { Server, ServerSlug } from "@valetkey/domain/Server"
import { termsOf } from "@valetkey/domain/SignedResponse"
import { TenantId } from "@valetkey/domain/Tenant"
import { Egress } from "@valetkey/egress/Egress"
import { Duration, Effect, Result } from "effect"
import * as Discovery from "./Discovery.ts"
import { makeKeySets } from "./internal/keySets.ts"
import type { Outbound } from "./internal/outbound.ts"
import { type Finding, judge } from "./internal/probeFindings.ts"
import { makeProofs } from "./internal/proofs.ts"
import { type Asked, make as recorded } from "./internal/recordedEgress.ts"
import * as IssuerMetadata from "./IssuerMetadata.ts"
import * as ProtectedResource from "./ProtectedResource.ts"

export type { Finding } from "./internal/probeFindings.ts"
export type { Asked } from "./internal/recordedEgress.ts"

/** What was found out about a server before anybody connects to it. */
export interface ProbeReport {
  readonly url: string
  /** As the resource spells itself; absent where it could not be asked. */
  readonly resource?: string | undefined
  readonly issuer?: string | undefined
  /** What a start would go by; absent where it would fail. */
  readonly metadata?: AuthorizationServerMetadata | undefined
  /** Where the authorization server documents itself for developers (RFC 8414 §2). */
  readonly documentation?: string | undefined
  /** The error that a start would end with. */
  readonly failure?: DiscoveryError["code"] | undefined
  readonly findings: ReadonlyArray<Finding>
  /** Every request that left, in order. */
  readonly asked: ReadonlyArray<Asked>
}

/** How long each request may take, 5 seconds by default. */
export interface ProbeOptions {
  readonly deadline?: Duration.Input | undefined
}

/**
 * Reads what a server and its authorization server say of themselves, and judges what will work. It asks what a start
 * asks, in the same order, registers nothing and sends no credential. The verdict is that of discovery itself, over the
 * same answers.
 *
 * @see RFC 9728 §3, RFC 8414 §3, OpenID Connect Discovery 1.0 §4
 */
export const probe = (url: string, options: ProbeOptions = {}): Effect.Effect<ProbeReport, never, Egress> =>
  Effect.gen(function*() {
    const { asked, egress } = recorded(yield* Egress)
    const deadline = Duration.fromInputUnsafe(options.deadline ?? "5 seconds")
    const outbound: Outbound = {
      egress,
      discovery: deadline,
      token: deadline,
      revocation: deadline,
      introspection: deadline,
      proofs: makeProofs(),
      keySets: makeKeySets(egress, deadline)
    }
    const report = (rest: Omit<ProbeReport, "url" | "asked">): ProbeReport => ({ url, ...rest, asked })

    const protectedResource = yield* Effect.result(ProtectedResource.find(outbound, url))
    if (Result.isFailure(protectedResource)) {
      return report({
        failure: protectedResource.failure.code,
        findings: [failed("resource", protectedResource.failure)]
      })
    }
    const { authorizationServers: [named], resource } = protectedResource.success
    const { origin } = new URL(url)
    const spellings: [string, ...Array<string>] = named === undefined ? [origin, `${origin}/`] : [named]
    const document = yield* Effect.result(IssuerMetadata.findDocument(outbound, spellings, url))
    if (Result.isFailure(document)) {
      return report({
        resource,
        issuer: named,
        failure: document.failure.code,
        findings: [
          ...judge({ protectedResource: protectedResource.success, document: undefined }),
          failed("authorization server", document.failure)
        ]
      })
    }
    // A person may know that silence about PKCE means nothing; the findings tell them of the silence.
    const verdict = yield* Effect.result(Discovery.discover(outbound, serverOf(url, {})))
    const assumed = yield* Effect.result(Discovery.discover(outbound, serverOf(url, { assumePkceSupport: true })))
    const findings = judge({ protectedResource: protectedResource.success, document: document.success })
    const failure = Result.isFailure(verdict) ? verdict.failure : unverifiable(verdict.success)
    const documentation = document.success?.["service_documentation"]
    return report({
      resource,
      issuer: Result.isSuccess(assumed) ? assumed.success.issuer : named,
      metadata: Result.isSuccess(assumed) ? assumed.success : undefined,
      documentation: typeof documentation === "string" ? documentation : undefined,
      failure: failure?.code,
      // What the findings explain already is not said twice.
      findings: failure === undefined || findings.some(({ state }) => state === "fail")
        ? findings
        : [...findings, failed("authorization server", failure)]
    })
  })

/** What a start makes of a server that signs all of its responses, and not so that they can be verified. */
const unverifiable = ({ signedResponses }: AuthorizationServerMetadata): DiscoveryError | undefined =>
  signedResponses?.alone === true && termsOf(signedResponses) === undefined
    ? new DiscoveryError({ code: "signed_response_unsupported" })
    : undefined

const serverOf = (resource: string, quirks: Server["quirks"]): Server =>
  new Server({ tenant: TenantId.make("probe"), slug: ServerSlug.make("probe"), resource, quirks })

const failed = (subject: string, { code, message }: DiscoveryError): Finding => ({
  subject,
  state: "fail",
  found: code,
  who: code === "egress_refused" ? "you" : "operator",
  todo: message
})
