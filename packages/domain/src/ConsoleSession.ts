import { type DateTime, Duration, Schema } from "effect"
import type { SubjectId } from "./Subject.ts"
import type { TenantId } from "./Tenant.ts"

/** Schema for the id of a session of the console. Not a secret. */
export const ConsoleSessionId = Schema.String.check(Schema.isBetweenLength(1, 64)).pipe(
  Schema.brand("ConsoleSessionId")
)
export type ConsoleSessionId = typeof ConsoleSessionId.Type

/** What a person may do in a browser that was let in by a link, and until when. Its secrets are nowhere. */
export interface ConsoleSession {
  readonly id: ConsoleSessionId
  readonly tenant: TenantId
  readonly subject: SubjectId
  /** Those of whoever asked for the link, as far as the console has a use for them. */
  readonly scopes: ReadonlyArray<string>
  readonly createdAt: DateTime.Utc
  /** When the link is over, and once a browser is in, when its session is. */
  readonly expiresAt: DateTime.Utc
}

/** How long a link leads anywhere. */
export const linkLife = Duration.minutes(10)

/** How long a session lives at most. */
export const sessionLife = Duration.hours(1)

/** How long a session lives without a visit. */
export const idleLife = Duration.minutes(15)

/** How exact the time of the last visit is. */
export const visitCoarseness = Duration.minutes(1)

/** Scopes that the console has a use for. */
export const consoleScopes: ReadonlyArray<string> = ["connections:read", "connections:write", "flows:write"]
