/** What the replicas of a run wrote to their logs, as far as somebody may ask for it. */
export interface Log {
  add(replica: number, line: string): void
  /** The lines that belong to an answer, by its correlation id. */
  read(): Readonly<Record<string, ReadonlyArray<string>>>
}

/** Answers whose lines are kept; of more than that nobody reads more. */
const kept = 1000

/** Makes an empty log. */
export const make = (): Log => {
  const lines = new Map<string, Array<string>>()
  return {
    add: (replica, line) => {
      const id = /correlationId\W+([0-9a-f-]{36})/.exec(line)?.[1]
      if (id === undefined || lines.size >= kept && !lines.has(id)) return
      lines.set(id, [...lines.get(id) ?? [], `replica ${replica}: ${line}`])
    },
    read: () => Object.fromEntries(lines)
  }
}
