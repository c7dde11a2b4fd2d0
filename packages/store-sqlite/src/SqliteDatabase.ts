import type { StoreError } from "@valetkey/domain/StoreError"
import { Context, Layer } from "effect"
import { storeMigrations } from "./internal/migrations.ts"
import { type Database, openDatabase } from "./internal/openDatabase.ts"

/** Service: the database file behind all ports but the spool. One process owns it at a time. */
export class SqliteDatabase
  extends Context.Service<SqliteDatabase, Database>()("@valetkey/store-sqlite/SqliteDatabase")
{
  /**
   * Layer that opens the file, or makes it (0600, in a directory of 0700), and holds its lock until it is closed or the
   * process dies. Fails with `store_locked` when another process has it and `store_corrupt` when it is no database.
   */
  static readonly layer = (options: { readonly path: string }): Layer.Layer<SqliteDatabase, StoreError> =>
    Layer.effect(SqliteDatabase, openDatabase(options.path, storeMigrations))
}
