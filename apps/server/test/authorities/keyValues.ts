/** The key-value store of a worker, in memory. */
export class KeyValues {
  private readonly entries = new Map<string, Entry>()

  private live(key: string): Entry | undefined {
    const entry = this.entries.get(key)
    if (entry?.expires === undefined || entry.expires > Date.now() / 1000) return entry
    this.entries.delete(key)
    return undefined
  }

  async get(key: string, options?: string | { readonly type?: string }): Promise<unknown> {
    const value = this.live(key)?.value
    const type = typeof options === "string" ? options : options?.type
    return value === undefined ? null : type === "json" ? JSON.parse(value) : value
  }

  async put(key: string, value: string, options: Expiry & { readonly metadata?: unknown } = {}): Promise<void> {
    const expires = options.expiration ??
      (options.expirationTtl === undefined ? undefined : Date.now() / 1000 + options.expirationTtl)
    this.entries.set(key, { value, metadata: options.metadata, expires })
  }

  async delete(key: string): Promise<void> {
    this.entries.delete(key)
  }

  async list({ prefix = "" }: { readonly prefix?: string } = {}): Promise<unknown> {
    const keys = [...this.entries.keys()].filter((key) => key.startsWith(prefix) && this.live(key) !== undefined).sort()
    return {
      keys: keys.map((name) => ({ name, metadata: this.entries.get(name)?.metadata })),
      list_complete: true
    }
  }
}

interface Entry {
  readonly value: string
  readonly metadata: unknown
  readonly expires: number | undefined
}

/** Seconds since the epoch, or from now. */
interface Expiry {
  readonly expiration?: number
  readonly expirationTtl?: number
}
