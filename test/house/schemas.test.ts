// SPDX-License-Identifier: Apache-2.0
// Every command that prints JSON has a schema in docs/schemas. Every schema there belongs to a command or is
// documented in operations.md. All schemas are strict.
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { createProgram, defineCommand } from '../../cli/program.js';
import { schemaOf } from '../json_schema.js';
import { files, read } from './sources.js';

/** Runs until it is stopped, and prints one line only. */
const withoutJson = ['up'];

const namesBelow = (command: Command, prefix = ''): string[] =>
  command.commands.flatMap((each) => {
    const name = `${prefix}${each.name()}`;
    const below = namesBelow(each, `${name}_`);
    // A command with subcommands counts as a command itself only if it has an action of its own.
    const acts = (each as unknown as { _actionHandler: unknown })._actionHandler !== null;
    return acts ? [name, ...below] : below;
  });

const program = createProgram();
for (const command of program.commands) await defineCommand(command);
const commands = namesBelow(program).filter((name) => !withoutJson.includes(name));
const schemas = files()
  .map((path) => /^docs\/schemas\/(\w+)\.json$/.exec(path)?.[1])
  .filter((name) => name !== undefined);

describe('schemas', () => {
  it('exist for every command', () => {
    expect(commands.length).toBeGreaterThan(6);
    expect(commands.filter((name) => !schemas.includes(name))).toEqual([]);
  });

  it('exist for nothing else, except what operations.md links to', () => {
    const told = read('docs/operations.md');
    const others = schemas.filter((name) => !commands.includes(name));
    expect(others.filter((name) => !told.includes(`(schemas/${name}.json)`))).toEqual([]);
  });

  it.each(schemas)('%s is a valid schema and has a title', (name) => {
    expect(() => schemaOf(name)).not.toThrow();
    const schema = JSON.parse(read(`docs/schemas/${name}.json`));
    expect(schema.$schema).toBe('https://json-schema.org/draft/2020-12/schema');
    expect(schema.title).toMatch(/\w+ \w+/);
  });

  it.each(schemas)('%s allows no undocumented keys', (name) => {
    const loose: string[] = [];
    const visit = (part: unknown, path: string): void => {
      if (typeof part !== 'object' || part === null) return;
      const { type, additionalProperties } = part as { type?: unknown; additionalProperties?: unknown };
      // Keys with names of services have a schema of their own.
      const others = additionalProperties as { $ref?: string; items?: unknown } | undefined;
      const isDocumented =
        additionalProperties === false || others?.$ref !== undefined || others?.items !== undefined;
      if (type === 'object' && !isDocumented) loose.push(path);
      for (const [key, value] of Object.entries(part)) visit(value, `${path}/${key}`);
    };
    visit(JSON.parse(read(`docs/schemas/${name}.json`)), name);
    expect(loose).toEqual([]);
  });
});
