// SPDX-License-Identifier: Apache-2.0
// The keys in which two node files differ, and what a change of each takes: a reload or a restart, as the schema says. A
// reload applies a file without the changes that take a restart: those keys keep the values with which the node started.
import type { z } from 'zod';
import type { NodeConfig } from './config.js';
import { isMap } from './cross_rules.js';
import { schema } from './schema.js';
import type { KeyDocument } from './values.js';

/** A key, or an entry of a map, that has another value. */
export interface Change {
  /** `peers.b.endpoint`; `peers.b` if the whole entry was added or removed. */
  path: string;
  takes: KeyDocument['takes'];
}

/** The parts of a type of the schema, below defaults and `optional`. */
interface Part {
  takes: KeyDocument['takes'] | undefined;
  /** Keys of a section. */
  shape: Readonly<Record<string, z.ZodType>> | undefined;
  /** Type of the entries of a map. */
  entry: z.ZodType | undefined;
}

function partOf(type: z.ZodType): Part {
  const { document } = (type.meta() ?? {}) as { document?: KeyDocument };
  let { def } = type as unknown as { def: Definition };
  while (def.innerType !== undefined) ({ def } = def.innerType as unknown as { def: Definition });
  return {
    takes: document?.takes,
    shape: def.type === 'object' ? def.shape : undefined,
    entry: def.type === 'record' ? def.valueType : undefined,
  };
}

interface Definition {
  type: string;
  innerType?: z.ZodType;
  shape?: Record<string, z.ZodType>;
  valueType?: z.ZodType;
}

/** The keys whose values differ, in the order of the schema. Values that a file leaves out are those in force without them. */
export const changesBetween = (before: NodeConfig, after: NodeConfig): Change[] =>
  changesIn(schema, before, after, '');

function changesIn(type: z.ZodType, before: unknown, after: unknown, path: string): Change[] {
  const { takes, shape, entry } = partOf(type);
  const below = (name: string) => (path === '' ? name : `${path}.${name}`);
  if (shape !== undefined && isMap(before) && isMap(after)) {
    return Object.entries(shape).flatMap(([name, each]) =>
      changesIn(each, before[name], after[name], below(name)),
    );
  }
  if (entry !== undefined && takes === 'reload' && isMap(before) && isMap(after)) {
    return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((name): Change[] => {
      const isIn = (map: Record<string, unknown>) => Object.hasOwn(map, name);
      return isIn(before) && isIn(after)
        ? changesIn(entry, before[name], after[name], below(name))
        : [{ path: below(name), takes }];
    });
  }
  if (takes === undefined || JSON.stringify(before) === JSON.stringify(after)) return [];
  return [{ path, takes }];
}

/**
 * The content of a node file, as YAML represents it, with the values of `running` for the keys that take a restart.
 * Entries of a map that takes a reload are taken from the file as a whole.
 */
export function withoutRestartKeys(file: unknown, running: unknown): unknown {
  return kept(schema, file, running);
}

function kept(type: z.ZodType, file: unknown, running: unknown): unknown {
  const { takes, shape } = partOf(type);
  if (shape === undefined) return takes === 'restart' ? running : file;
  const [ours, theirs] = [isMap(file) ? file : {}, isMap(running) ? running : {}];
  return Object.fromEntries(
    Object.entries(shape).flatMap(([name, each]) => {
      const value = kept(each, ours[name], theirs[name]);
      return value === undefined || (isMap(value) && Object.keys(value).length === 0) ? [] : [[name, value]];
    }),
  );
}
