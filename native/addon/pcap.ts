// SPDX-License-Identifier: Apache-2.0
// The interface to C++, part two: encrypting and decrypting the packets of capture files.
import type { ModeName } from '../../services/shared/modes.js';

/** Options for converting one capture file into another. */
export interface TranscodeOptions {
  /** Open descriptors, read and written from their current position; the caller closes them. */
  input: number;
  output: number;
  /** Master keys 0 and 1, 64 octets; copied into locked memory and then wiped in this array. */
  masterKeys: Uint8Array;
  /** How to encrypt; if absent, decrypt. */
  encrypt?: SealOptions;
  /** Skip a frame that cannot be encrypted or decrypted, and continue. */
  skipBad?: boolean;
  /** Encrypting: a frame without IP is an error instead of being copied in the clear. */
  strict?: boolean;
}

export interface SealOptions {
  /** Its low 31 bits must not be zero. */
  spi: number;
  mode: ModeName;
  /** 0 to 3. */
  version: number;
  /** In 4-octet units from the end of the IV, 0 to 63; 0 in versions 2 and 3. */
  cryptOffset: number;
  /** The virtualization cookie. */
  cookie?: bigint;
  /** IV of the first packet. */
  iv: bigint;
  /** Addresses of one family, 16 octets each, for tunnel mode; if absent, the addresses of each packet. */
  outer?: { source: Uint8Array; destination: Uint8Array };
}

export interface TranscodeCounts {
  format: 'pcap' | 'pcapng';
  frames: number;
  /** Frames encrypted or decrypted, by mode. */
  tunnel: number;
  transport: number;
  /** Frames without IP (encrypting) or without PSP (decrypting), and their number by kind. */
  copied: number;
  copiedKinds: { kind: string; frames: number }[];
  /** Frames skipped with skipBad, and a list of the first 1000. */
  skipped: number;
  skippedFrames: { frame: number; detail: string }[];
  /** Frames whose IPv4 header checksum or IP length the capturing host left to its interface; both were filled in. */
  completed: number;
  /** Octets of link padding and frame check sequences after packets, which are omitted. */
  paddingOctets: number;
  /** Omitted pcapng blocks: neither section nor interface nor frame. */
  leftOut: number;
  /** After encrypting: the IV after the last one used; absent if there is none. */
  nextIv?: bigint;
}
