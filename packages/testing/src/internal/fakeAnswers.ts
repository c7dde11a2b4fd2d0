import type { Answer } from "../Reply.ts"

/** An answer of an endpoint, which nobody may keep. */
export const json = (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): Answer => ({
  status,
  headers: { "content-type": "application/json", "cache-control": "no-store", ...headers },
  body: JSON.stringify(body)
})

/** An answer that names an OAuth error. */
export const refuse = (error: string, status = 400): Answer => json(status, { error })
