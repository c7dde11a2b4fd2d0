/** One change of a source file, by the end of its path. It applies wherever `from` stands, which must be somewhere. */
export interface Change {
  /** Below the root of the repository. */
  readonly file: string
  readonly from: string
  readonly to: string
}

const store = "packages/store-postgres/src/PostgresConnectionStore.ts"
const groups = "packages/store-postgres/src/internal/connectionGroups.ts"

/** Deliberately broken builds: replicas load the sources with these changes. The harness has to find each of them. */
export const breakages = {
  /** Results are stored over whatever is there, as with a lock alone. */
  "no-fence": [
    {
      file: groups,
      from: "locked(sql, committable, lock)",
      to:
        "sql`CROSS JOIN LATERAL (SELECT FROM connections WHERE tenant = asked.tenant AND subject = asked.subject AND server = asked.server FOR UPDATE) AS own`"
    }
  ],
  /** Nobody can tell a request that may have left from one that did not. */
  "no-sent-phase": [
    { file: groups, from: "SET phase = 'sent', attempts = attempts + 1,", to: "SET phase = 'claimed'," }
  ],
  /** Who is refused marks the connection, whatever somebody else stored meanwhile. */
  "loser-wipes": [
    {
      file: store,
      from: "AND fence = ${input.fence} AND status = 'active' AND phase <> 'idle'\n            RETURNING fence",
      to:
        "AND fence = ${input.fence} AND status = 'active' AND phase <> 'idle' OR ${input.failure._tag} = 'Terminal' AND ${ofKey(sql, key)}\n            RETURNING fence"
    }
  ],
  /** A replica that goes ends the connections of callers that still wait for an answer. */
  "hasty-drain": [
    {
      file: "apps/server/src/Departure.ts",
      from: "open.size === 0 && socket.bytesRead === read",
      to: "true"
    }
  ]
} satisfies Readonly<Record<string, ReadonlyArray<Change>>>

/** The name of a broken build. */
export type Name = keyof typeof breakages
