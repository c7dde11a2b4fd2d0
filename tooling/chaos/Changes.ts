import * as EmbeddedPostgres from "@valetkey/testing/EmbeddedPostgres"
import { Effect, type Redacted } from "effect"
import type { Change, Mark, Rest, Subject } from "./History.ts"
import { indexOf } from "./Replicas.ts"

/** Notes every change of generation, epoch or status, and every mark that a request may leave, in the same transaction. */
const trigger = `
CREATE TABLE chaos_changes (
  id bigserial PRIMARY KEY, at float8 NOT NULL, tenant text, subject text, server text, epoch text,
  generation integer, status text, reason text
);
CREATE FUNCTION chaos_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO chaos_changes (at, tenant, subject, server, epoch, generation, status, reason)
  VALUES (extract(epoch FROM clock_timestamp()) * 1000, NEW.tenant, NEW.subject, NEW.server, NEW.epoch,
    NEW.generation, NEW.status, NEW.reauth_reason);
  RETURN NULL;
END $$;
CREATE TABLE chaos_marks (
  id bigserial PRIMARY KEY, at float8 NOT NULL, tenant text, subject text, server text, epoch text,
  generation integer, client text
);
CREATE FUNCTION chaos_mark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO chaos_marks (at, tenant, subject, server, epoch, generation, client)
  VALUES (extract(epoch FROM clock_timestamp()) * 1000, NEW.tenant, NEW.subject, NEW.server, NEW.epoch,
    NEW.generation, host(inet_client_addr()));
  RETURN NULL;
END $$;
CREATE TRIGGER chaos_marked AFTER UPDATE ON connections FOR EACH ROW
  WHEN (NEW.phase = 'sent' AND (OLD.phase <> 'sent' OR OLD.fence <> NEW.fence))
  EXECUTE FUNCTION chaos_mark();
CREATE TRIGGER chaos_inserted AFTER INSERT ON connections FOR EACH ROW EXECUTE FUNCTION chaos_note();
CREATE TRIGGER chaos_updated AFTER UPDATE ON connections FOR EACH ROW
  WHEN (OLD.generation <> NEW.generation OR OLD.epoch <> NEW.epoch OR OLD.status <> NEW.status)
  EXECUTE FUNCTION chaos_note();`

/** Has a migrated database note what happens to connections from now on. */
export const watch = (url: Redacted.Redacted): Promise<unknown> =>
  Effect.runPromise(EmbeddedPostgres.statement(url, trigger))

/** What was noted. */
export const read = async (
  url: Redacted.Redacted,
  subjects: ReadonlyArray<Subject>
): Promise<ReadonlyArray<Change>> => {
  const notes = await notesOf(url, subjects, "chaos_changes")
  return notes.map(({ note, row }) => ({
    ...note,
    status: String(row["status"]),
    reason: row["reason"] === null ? undefined : String(row["reason"])
  }))
}

/** Every mark that was noted. */
export const marks = async (
  url: Redacted.Redacted,
  subjects: ReadonlyArray<Subject>
): Promise<ReadonlyArray<Mark>> => {
  const notes = await notesOf(url, subjects, "chaos_marks")
  return notes.map(({ note, row }) => ({ ...note, replica: indexOf(String(row["client"])) }))
}

/** What both tables say of a connection, in the order in which it was noted. */
const notesOf = async (
  url: Redacted.Redacted,
  subjects: ReadonlyArray<Subject>,
  table: "chaos_changes" | "chaos_marks"
) => {
  const rows = await Effect.runPromise(EmbeddedPostgres.statement(url, `SELECT * FROM ${table} ORDER BY id`))
  const ids = idsOf(subjects)
  return rows.map((row) => ({
    row,
    note: {
      // Every other clock here tells whole milliseconds: a mark may not seem younger than the request that followed it.
      at: Math.floor(Number(row["at"])),
      connection: ids.get(keyOf(row)) ?? -1,
      epoch: String(row["epoch"]),
      generation: Number(row["generation"])
    }
  }))
}

/** How far the refresh of every connection is now. */
export const rest = async (url: Redacted.Redacted, subjects: ReadonlyArray<Subject>): Promise<ReadonlyArray<Rest>> => {
  const rows = await Effect.runPromise(
    EmbeddedPostgres.statement(url, "SELECT tenant, subject, server, phase FROM connections")
  )
  const ids = idsOf(subjects)
  return rows.map((row) => ({ connection: ids.get(keyOf(row)) ?? -1, phase: String(row["phase"]) }))
}

const keyOf = (row: Readonly<Record<string, unknown>>): string => `${row["tenant"]}/${row["subject"]}/${row["server"]}`

const idsOf = (subjects: ReadonlyArray<Subject>): ReadonlyMap<string, number> =>
  new Map(subjects.map(({ id, server, subject, tenant }) => [`${tenant}/${subject}/${server}`, id]))
