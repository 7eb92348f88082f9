// SPDX-License-Identifier: Apache-2.0
// The counters that the PSP architecture specification asks of an implementation, under the names that Linux gives
// them (`rx-packets`, ...). In the words of the dataplane they go by `counter`. Octets are counted from behind the IV
// to the end of the payload, so without the first 16 octets of the PSP header and without the ICV.

export interface SpecCounter {
  /** In the dataplane's counters. */
  counter: string;
  /** Linux's name (Documentation/netlink/specs/psp.yaml). */
  linux: string;
  help: string;
}

export const specCounters: readonly SpecCounter[] = [
  { counter: 'rxPackets', linux: 'rx-packets', help: 'Packets received and authenticated.' },
  {
    counter: 'rxBytes',
    linux: 'rx-bytes',
    help: 'Octets of packets received and authenticated, behind the IV and without the ICV.',
  },
  { counter: 'rxAuthFail', linux: 'rx-auth-fail', help: 'Packets received whose authentication failed.' },
  { counter: 'rxError', linux: 'rx-error', help: 'Packets received with an error of length or framing.' },
  {
    counter: 'rxBad',
    linux: 'rx-bad',
    help: 'Packets received of an unknown version or under no valid master key.',
  },
  { counter: 'txPackets', linux: 'tx-packets', help: 'Packets sealed and sent.' },
  {
    counter: 'txBytes',
    linux: 'tx-bytes',
    help: 'Octets of packets sealed and sent, behind the IV and without the ICV.',
  },
  { counter: 'txError', linux: 'tx-error', help: 'Packets that could not be sealed.' },
  { counter: 'keyRotations', linux: 'key-rotations', help: 'Rotations of the master key.' },
  {
    counter: 'staleEvents',
    linux: 'stale-events',
    help: 'Flows that a rotation cut: their peer still sent under the key that it wiped.',
  },
];
