// SPDX-License-Identifier: Apache-2.0
// The node file: loading and checking. One file per node, in the nouns of the operator; its keys and their defaults are
// in schema.ts. All faults are reported at once, each with its path, the expected and the received value. The result is
// frozen.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type Document, LineCounter, parseDocument, Scalar, YAMLMap } from 'yaml';
import type { z } from 'zod';
import { formatPrefix, networkOf, parseEndpoint, parsePrefix } from '../address.js';
import { PspError } from '../errors.js';
import { crossFaults, type Finding, formatPath, isMap, type Path } from './cross_rules.js';
import { type Schema, schema } from './schema.js';
import { warningsOf } from './warnings.js';

/** A peer as loaded. */
export type PeerConfig = Schema['peers'][string] & { underlay: string[] };

/** A node file as loaded: every default filled in, addresses in canonical text, frozen. */
export type NodeConfig = Readonly<
  Omit<Schema, 'stateDir' | 'peers' | 'audit'> & {
    stateDir: string;
    audit: Schema['audit'] & { listen: string };
    /** SHA-256 of this text, in hex. */
    digest: string;
    /** The variables of the environment that overrode keys. */
    environment: Readonly<Record<string, string>>;
    /** The node file from which the text was made: the same, but for keys that take a restart. */
    source: ConfigSource;
    peers: Readonly<Record<string, PeerConfig>>;
    /** The files beside the node file. */
    files: NodeFiles;
  }
>;

/** The node file from which a running configuration was made. */
export interface ConfigSource {
  /** SHA-256 of the node file, in hex. */
  fileDigest: string;
  /** Keys of that file that take effect with the next start of the node. */
  restartKeys: readonly string[];
}

export interface NodeFiles {
  config: string;
  /** The authorities that are trusted, one or several. */
  ca: string;
  certificate: string;
  privateKey: string;
  /** Certificate revocation lists; only if there are any. */
  revocationLists: string;
  /** Fingerprints of refused certificates; only if there are any. */
  refused: string;
  busSecret: string;
  /** The folder with <user>.password. */
  passwords: string;
}

export interface Fault {
  path: string;
  expected: string;
  received: string;
  /** Line in the file, from 1, if it is known. */
  line?: number;
}

/** A loss of confidentiality by a valid file. */
export interface Warning {
  path: string;
  message: string;
  line?: number;
}

/** The paths of a node's files, as `psp init` makes them: beside node.yaml. No key of the node file names a path. */
export function filesBeside(config: string): NodeFiles {
  const folder = dirname(config);
  return {
    config,
    ca: join(folder, 'tls/ca.crt'),
    certificate: join(folder, 'tls/node.crt'),
    privateKey: join(folder, 'tls/node.key'),
    revocationLists: join(folder, 'tls/ca.crl'),
    refused: join(folder, 'tls/refused.txt'),
    busSecret: join(folder, 'bus.secret'),
    passwords: join(folder, 'nats'),
  };
}

const longestReceived = 60;

function findingsOf(issue: z.core.$ZodIssue): Finding[] {
  const path = issue.path as Path;
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...path, key], expected: issue.message, received: key }));
  }
  if (issue.code === 'invalid_key') {
    return [{ path, expected: issue.issues[0]?.message ?? 'a name', received: String(path.at(-1)) }];
  }
  const received = issue.input === undefined ? 'nothing' : JSON.stringify(issue.input);
  const shown = received.length > longestReceived ? `${received.slice(0, longestReceived)}...` : received;
  return [{ path, expected: issue.message, received: shown }];
}

/** A section or key without a value is treated as absent: its content may be commented out. */
function withoutNulls(file: unknown): unknown {
  if (!isMap(file)) return file;
  const filled = (map: Record<string, unknown>) => Object.entries(map).filter(([, part]) => part !== null);
  return Object.fromEntries(
    filled(file).map(([key, part]) => [
      key,
      key !== 'peers' && isMap(part) ? Object.fromEntries(filled(part)) : part,
    ]),
  );
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) deepFreeze(part);
  }
  return value;
}

/** Line of the key or list item at the path, else of the nearest one around it; undefined at the root. */
function lineOf(document: Document, lines: LineCounter, path: Path): number | undefined {
  for (let depth = path.length; depth > 0; depth--) {
    const last = path[depth - 1];
    const parent: unknown = depth === 1 ? document.contents : document.getIn(path.slice(0, depth - 1), true);
    const node =
      parent instanceof YAMLMap
        ? parent.items.find(({ key }) => (key instanceof Scalar ? String(key.value) : undefined) === last)
            ?.key
        : document.getIn(path.slice(0, depth), true);
    const range = (node as { range?: [number, number, number] } | undefined)?.range;
    if (range) return lines.linePos(range[0]).line;
  }
  return undefined;
}

/**
 * Checks the text of a node file.
 * @returns the configuration and its warnings, or every fault in the order of the file, missing keys first.
 */
export function checkConfig(
  content: string,
  file: string,
  environment: Readonly<Record<string, string | undefined>> = {},
  source?: ConfigSource,
): { config: NodeConfig; warnings: Warning[] } | { faults: Fault[] } {
  const lines = new LineCounter();
  const document = parseDocument(content, { lineCounter: lines, uniqueKeys: true });
  if (document.errors.length > 0) {
    return {
      faults: document.errors.map((error) => ({
        path: '',
        expected: 'YAML',
        received: (error.message.split('\n')[0] ?? '').replace(/ at line \d+, column \d+:?$/, ''),
        ...(error.linePos ? { line: error.linePos[0].line } : {}),
      })),
    };
  }
  const { raw, overridden } = overlaid(withoutNulls(document.toJS() ?? {}), environment);
  const result = schema.safeParse(raw, { reportInput: true });
  const findings = [
    ...(result.error?.issues.flatMap(findingsOf) ?? []),
    ...(isMap(raw) ? crossFaults(raw) : []),
  ];
  if (result.data === undefined || findings.length > 0) {
    const faults = findings.map(({ path, expected, received }): Fault => {
      const variable = overridden.get(formatPath(path));
      if (variable !== undefined) return { path: variable, expected, received };
      const line = lineOf(document, lines, path);
      return { path: formatPath(path), expected, received, ...(line === undefined ? {} : { line }) };
    });
    return { faults: faults.sort((one, other) => (one.line ?? 0) - (other.line ?? 0)) };
  }
  const config = result.data;
  const onLink = [formatPrefix(networkOf(parsePrefix(config.secured.address)))];
  const digest = createHash('sha256').update(content).digest('hex');
  const loaded: NodeConfig = deepFreeze({
    ...config,
    digest,
    environment: variablesIn(environment),
    source: source ?? { fileDigest: digest, restartKeys: [] },
    stateDir: config.stateDir ?? `/var/lib/psp/${config.node}`,
    audit: { ...config.audit, listen: config.audit.listen ?? auditListenOf(config.bus.listen) },
    peers: Object.fromEntries(
      Object.entries(config.peers).map(([peer, value]) => [
        peer,
        { ...value, underlay: value.underlay ?? onLink },
      ]),
    ),
    files: filesBeside(file),
  });
  const warnings = warningsOf(loaded).map(({ path, message }): Warning => {
    const line = lineOf(document, lines, path);
    return { path: formatPath(path), message, ...(line === undefined ? {} : { line }) };
  });
  return { config: loaded, warnings };
}

/** Distance between the ports of the two servers of the bus, where the node file names only one. */
const auditPortsAbove = 1000;
const highestPort = 65_535;

/** The port above that of the bus, or below it if there is none above. */
function auditListenOf(listen: string): string {
  const { port } = parseEndpoint(listen);
  const above = port + auditPortsAbove;
  return listen.replace(/\d+$/, String(above <= highestPort ? above : port - auditPortsAbove));
}

/** Environment variables and the key that each overrides. */
const variables = {
  PSP_LOG_LEVEL: ['log', 'level'],
  PSP_CRYPTO: ['engine', 'crypto'],
  PSP_METRICS_LISTEN: ['metrics', 'listen'],
} as const;

/** The content of a node file that is valid YAML, before defaults, as `withoutRestartKeys` takes it. */
export const contentOf = (text: string): unknown => withoutNulls(parseDocument(text).toJS() ?? {});

const variablesIn = (environment: Readonly<Record<string, string | undefined>>): Record<string, string> =>
  Object.fromEntries(
    Object.keys(variables).flatMap((name) => (environment[name] ? [[name, environment[name]]] : [])),
  );

/** Overrides keys by the environment. @returns also the variable of each overridden path. */
function overlaid(
  file: unknown,
  environment: Readonly<Record<string, string | undefined>>,
): { raw: unknown; overridden: Map<string, string> } {
  const overridden = new Map<string, string>();
  if (!isMap(file)) return { raw: file, overridden };
  const raw = { ...file };
  for (const [variable, [name, key]] of Object.entries(variables)) {
    const value = environment[variable];
    const present = raw[name] ?? {};
    if (value === undefined || value === '' || !isMap(present)) continue;
    raw[name] = { ...present, [key]: value };
    overridden.set(`${name}.${key}`, variable);
  }
  return { raw, overridden };
}

/** One line a fault: `  peers.b.vips[0] (line 9): expected a prefix, received "10.2.0.1/24"`. */
export function formatFault({ path, expected, received, line }: Fault): string {
  const where = line === undefined ? '' : ` (line ${line})`;
  return `  ${path === '' ? 'the file' : path}${where}: expected ${expected}, received ${received}`;
}

/** One line a warning: `warning: ingressAcl (line 9): every packet that authenticates is admitted, ...`. */
export const formatWarning = ({ path, message, line }: Warning): string =>
  `warning: ${path}${line === undefined ? '' : ` (line ${line})`}: ${message}`;

/**
 * Reads and checks a node file: file, then environment.
 * @throws PspError FILE_UNREADABLE.
 */
export function checkFile(
  file: string,
  environment: Readonly<Record<string, string | undefined>>,
): ReturnType<typeof checkConfig> {
  return checkConfig(readConfig(file), file, environment);
}

/** The text of a node file. @throws PspError FILE_UNREADABLE. */
export function readConfig(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (cause) {
    const detail = (cause as NodeJS.ErrnoException).code ?? 'error';
    const remedy = 'name a node file with -c FILE, or make one with `psp init`';
    throw new PspError('FILE_UNREADABLE', { file, detail, remedy }, { cause });
  }
}

/** The error that lists every fault of a node file. */
export const configInvalid = (file: string, faults: readonly Fault[]): PspError =>
  new PspError('CONFIG_INVALID', { file, faults: faults.map(formatFault).join('\n') });

/**
 * Loads a node file.
 * @throws PspError FILE_UNREADABLE or CONFIG_INVALID, which lists every fault.
 */
export function loadConfig(
  file: string,
  environment: Readonly<Record<string, string | undefined>>,
): NodeConfig {
  const result = checkFile(file, environment);
  if ('config' in result) return result.config;
  throw configInvalid(file, result.faults);
}

/**
 * PSP versions allowed with a peer, in order of preference: those of `versions`, or for an `authOnly` peer their counterparts
 * 2 and 3, which authenticate and do not encrypt (PSP specification, "Versions").
 */
export const versionsWith = (versions: readonly number[], { authOnly }: { authOnly: boolean }): number[] =>
  versions.map((version) => (authOnly ? version + 2 : version));

/** The SPIFFE identity of a gateway. */
export const identityOf = (trustDomain: string, node: string): string =>
  `spiffe://${trustDomain}/gateway/${node}`;
