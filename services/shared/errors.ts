// SPDX-License-Identifier: Apache-2.0
// The one table of expected failures: code, message, and whether the same attempt may succeed later. Adapters translate
// errors of other libraries into these codes; a core sees only codes.

interface ErrorRow {
  /** Message template; `{name}` is replaced from the error's data, or by "unknown" if it is missing there. */
  message: string;
  /** Whether the same attempt may succeed later without a change. */
  retryable: boolean;
}

const table = {
  // Between gateways.
  PEER_UNKNOWN: {
    message: 'certificate {identity} belongs to no configured peer',
    retryable: false,
  },
  SOURCE_NOT_ALLOWED: {
    message:
      'a connection without TLS comes from {address}, which is the address of no peer with insecureReferenceInterop',
    retryable: false,
  },
  VIP_NOT_PEERS: {
    message: 'peer {peer} is not allowed to use {vip}, which is not one of its vips',
    retryable: false,
  },
  VIP_NOT_OURS: { message: '{vip} is not behind this gateway', retryable: false },
  VERSION_NOT_SPOKEN: {
    message: 'none of the PSP versions [{offered}] is allowed here, only [{allowed}]',
    retryable: false,
  },
  MODE_MISMATCH: {
    message: 'peer {peer} offers {offered} mode, but its mode is {ours} here',
    retryable: false,
  },
  UNDERLAY_NOT_ALLOWED: {
    message: 'address {address} of peer {peer} is outside its underlay prefixes, or ours',
    retryable: false,
  },
  REQUEST_INVALID: {
    message: 'malformed request: {detail}',
    retryable: false,
  },
  ROTATION_NOT_ALLOWED: {
    message: 'peer {peer} is not allowed to rotate our keys',
    retryable: false,
  },
  ROTATION_LIMITED: {
    message: 'the active master key is less than a minute old; a peer may request the next one in {ms} ms',
    retryable: true,
  },
  RATE_LIMITED: {
    message: 'client {peer} exceeds {limit} of keyExchange.limits; retry after {ms} ms',
    retryable: true,
  },
  RESPONSE_INVALID: { message: 'peer {peer} answered with {detail}', retryable: true },
  PEER_REFUSED: { message: 'peer {peer} refused: {detail}', retryable: true },
  PEER_LIMITS_RATE: {
    message: 'peer {peer} limits the rate of our requests and accepts the next one after {ms} ms: {detail}',
    retryable: true,
  },
  PEER_DOWN: { message: 'peer {peer} cannot be reached: {detail}', retryable: true },
  PEER_CERTIFICATE_INVALID: { message: 'peer {peer} presents {detail}; {remedy}', retryable: true },
  CERTIFICATE_REFUSED: {
    message: 'peer {peer} refuses our certificate: {detail}; {remedy}',
    retryable: true,
  },
  IDENTITY_SHARED: {
    message:
      'two gateways use the identity of peer {peer}, at {addresses}; give each a name and a certificate of its own',
    retryable: false,
  },
  PEER_TIMEOUT: { message: 'peer {peer} did not answer within {ms} ms', retryable: true },
  BREAKER_OPEN: {
    message: 'peer {peer} failed too often; its circuit breaker is open until the next trial call',
    retryable: true,
  },
  SERVICE_DOWN: {
    message: '{service} cannot be reached on the bus',
    retryable: true,
  },
  SERVICE_TIMEOUT: {
    message: '{service} did not answer within {ms} ms',
    retryable: true,
  },
  OVERLOADED: { message: 'too much work in progress', retryable: true },
  // Between dataplane and key exchange, on the bus.
  STALE: { message: 'epoch {epoch} is not the current one', retryable: true },
  REPLAY: { message: 'the request was received before', retryable: false },
  SEAL_INVALID: { message: 'the seal cannot be opened', retryable: false },
  PAYLOAD_INVALID: {
    message: 'payload of {subject} is malformed: {detail}',
    retryable: false,
  },
  TABLE_FULL: { message: 'the {table} is full', retryable: true },
  SPI_EXHAUSTED: {
    message: 'the active master key has no SPI left; run `psp rotate`',
    retryable: true,
  },
  TUNNELS_SPENT: {
    message: 'the peer has been offered as many tunnels as peers.X.maxTunnels allows',
    retryable: false,
  },
  FLOW_REMOVED: { message: 'a flow of the request was removed meanwhile', retryable: true },
  EXCHANGE_UNKNOWN: {
    message:
      'no exchange of keys about the flow from {one} to {other} is remembered; name the host here first',
    retryable: false,
  },
  FLOW_UNKNOWN: {
    message: 'there is no tunnel between {one} and {other}; `psp flows` lists the flows',
    retryable: false,
  },
  ENGINE_BUSY: {
    message: 'the queue of commands to the engine is full at the moment',
    retryable: true,
  },
  ROTATION_PENDING: {
    message:
      'the last rotation is not complete: {unanswered} flows unanswered, {ms} ms of drain left; a forced one would cut {cut} flows',
    retryable: true,
  },
  RESTART_NEEDED: {
    message:
      'nothing was applied, because without these keys, which take a restart, the rest of {file} is not valid: {keys}\n{faults}',
    retryable: false,
  },
  RELOAD_REFUSED: {
    message: 'a service refused the changed node file, and nothing was applied: {code}: {detail}',
    retryable: false,
  },
  STREAM_UNAVAILABLE: { message: 'the audit stream cannot be reached: {detail}', retryable: true },
  BUS_UNAVAILABLE: { message: 'the bus at {server} cannot be reached: {detail}', retryable: true },
  // At start.
  CONFIG_INVALID: { message: '{file}:\n{faults}', retryable: false },
  FILE_UNREADABLE: { message: '{file} cannot be read ({detail}); {remedy}', retryable: false },
  SECRET_EXPOSED: {
    message:
      '{file} has mode {mode}, which lets other users read or change a secret; run: chmod {most} {file}. If anybody may have read it, replace it',
    retryable: false,
  },
  CERTIFICATE_UNUSABLE: { message: '{faults}', retryable: false },
  CERTIFICATE_NOT_RELOADED: {
    message: 'changed files are not used: {faults}; those that were read at {since} stay in use',
    retryable: false,
  },
  SECRET_NOT_RELOADED: {
    message: 'the changed file is not used: {fault}; the secret that was read at {since} stays in use',
    retryable: false,
  },
  FILE_UNWRITABLE: { message: '{file} cannot be written ({detail}); {remedy}', retryable: false },
  ADDRESS_TAKEN: {
    message: '{address} is in use by another process; free it or change {key}',
    retryable: false,
  },
  STATE_DIR_TAKEN: {
    message: 'stateDir {folder} is in use by another node ({holder}); stop it or give each its own',
    retryable: false,
  },
  ADDRESS_UNUSABLE: {
    message: 'cannot listen on {address} ({detail}); give {key} an address of this machine',
    retryable: false,
  },
  RIGHTS_MISSING: { message: '{what} needs {right}; start as root or grant it', retryable: false },
  INTERFACE_MISSING: { message: 'there is no interface {name}; create it or change {key}', retryable: false },
  PORT_TAKEN: { message: 'port {name} is in use by another process', retryable: false },
  DRIVER_MISSING: {
    message: 'no DPDK driver for {name}; install it (Debian: librte-net-*) or change {key}',
    retryable: false,
  },
  PORT_FAILED: { message: 'port {name} cannot be opened: {detail}', retryable: false },
  ENGINE_MISSING: {
    message:
      '{file}: engine.kind: the engine "{kind}" is not built in; change it to one of {engines}, or build the addon with it',
    retryable: false,
  },
  ENGINE_UNSUPPORTED: {
    message:
      '{file} asks for more than the engine "{kind}" can do; change these keys, or choose another engine.kind:\n{faults}',
    retryable: false,
  },
  MTU_TOO_SMALL: {
    message: 'the secured interface {name} has MTU {mtu}, but its IP version needs {need}; raise it',
    retryable: false,
  },
  MTU_NEEDS_RESTART: {
    message: '{name} now has MTU {mtu}, but the gateway still uses {used}; restart the dataplane',
    retryable: false,
  },
  LINK_DOWN: {
    message:
      'the link of {name} is down and carries no packets; bring the interface and its other end up ({key})',
    retryable: true,
  },
  INTERFACE_REMOVED: {
    message: 'interface {name} was removed or renamed; create it again or change {key}',
    retryable: true,
  },
  LCORES_TOO_MANY: {
    message: '{name} has too few queues for engine.lcores ({detail}); lower it',
    retryable: false,
  },
  FENCE_FAILED: { message: 'the fence on {name} cannot be set: {detail}', retryable: false },
  ENGINE_FAILED: { message: 'the engine failed: {detail}', retryable: false },
  // Of tools for capture files.
  CAPTURE_MALFORMED: { message: '{file} is not a complete capture file: {detail}', retryable: false },
  FRAME_NOT_ENCRYPTED: {
    message: 'frame {frame} of {file} cannot be encrypted: {detail}',
    retryable: false,
  },
  FRAME_NOT_DECRYPTED: { message: 'frame {frame} of {file} cannot be decrypted: {detail}', retryable: false },
} satisfies Record<string, ErrorRow>;

export type ErrorCode = keyof typeof table;

/** All codes, in the order of the table. */
export const errorCodes = Object.keys(table) as ErrorCode[];

export const isErrorCode = (code: string): code is ErrorCode => Object.hasOwn(table, code);

/** An expected failure. `code` is stable; `data` fills the message and never contains a key byte. */
export class PspError extends Error {
  override readonly name = 'PspError';

  constructor(
    readonly code: ErrorCode,
    readonly data: Readonly<Record<string, string | number | bigint>> = {},
    options?: { cause?: unknown },
  ) {
    super(
      (table[code] as ErrorRow).message.replace(/\{(\w+)\}/g, (_, name: string) =>
        String(data[name] ?? 'unknown'),
      ),
      options,
    );
  }

  /** Whether the same attempt may succeed later without a change. */
  get retryable(): boolean {
    return (table[this.code] as ErrorRow).retryable;
  }
}
