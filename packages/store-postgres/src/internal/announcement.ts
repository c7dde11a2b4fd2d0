import type { FlowId } from "@valetkey/domain/Flow"
import { flowTopic } from "@valetkey/domain/Signals"
import type { Sql } from "../Database.ts"
import { channel } from "../PostgresSignals.ts"

/** Tells the other replicas of the flow in this column, when the transaction commits. */
export const announcement = (sql: Sql, id: string) =>
  sql`pg_notify(${channel}, ${flowTopic("" as FlowId)} || ${sql.literal(id)})`
