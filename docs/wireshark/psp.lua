-- SPDX-License-Identifier: Apache-2.0
-- A Wireshark dissector for the PSP Security Protocol: header, plaintext part, encrypted part, ICV. It has no keys and
-- decrypts nothing. A payload that is entirely in plaintext is passed to Wireshark's own dissectors. Its name is
-- psp_sec, because other dissectors of this protocol are named psp, and both may be installed.
-- Based on the PSP Architecture Specification, "PSP Packet Format"; for Wireshark 4.0 and later (Lua 5.2 to 5.4).
--
--   UDP (dst 1000) | PSP header: 16 octets, cookie if V, extension | payload | ICV
--                                ^ the crypt offset counts from here

local psp = Proto("psp_sec", "PSP Security Protocol")
psp.prefs.port = Pref.uint("UDP port", 1000, "Destination port of PSP packets; 0: none")

local FIXED = 16 -- octets up to the end of the IV
local COOKIE = 8
local ICV = 16
-- A packet may contain a packet that contains another. Deeper nesting than this is not dissected, to limit the work.
local MAX_DEPTH = 4

local versions = { [0] = "AES-GCM-128", "AES-GCM-256", "AES-GMAC-128", "AES-GMAC-256" }
local function encrypts(version) return version < 2 end

local next_headers = {
  [0] = "IPv6 hop-by-hop options", [1] = "ICMP", [4] = "IPv4", [6] = "TCP", [17] = "UDP", [41] = "IPv6",
  [43] = "IPv6 routing", [44] = "IPv6 fragment", [47] = "GRE", [50] = "ESP", [51] = "AH", [58] = "ICMPv6",
  [59] = "none", [60] = "IPv6 destination options", [132] = "SCTP",
}
-- Protocols whose dissectors need no data from Wireshark's IP dissectors.
local dissectors = { [1] = "icmp", [4] = "ip", [6] = "tcp", [17] = "udp", [41] = "ipv6", [132] = "sctp" }

local yes_no = { "Yes", "No" }
local set_or_not = { "Set", "Not set" }
local f = {
  next_header = ProtoField.uint8("psp_sec.next_header", "Next Header", base.DEC, next_headers),
  hdr_ext_len = ProtoField.uint8("psp_sec.hdr_ext_len", "Hdr Ext Len", base.DEC, nil, nil, "8-octet units after the first 8 octets"),
  header_length = ProtoField.uint16("psp_sec.header_length", "Header length (octets)", base.DEC),
  reserved = ProtoField.uint8("psp_sec.reserved", "R", base.DEC, nil, 0xc0, "Zero on send, ignored on receipt"),
  crypt_offset = ProtoField.uint8("psp_sec.crypt_offset", "Crypt Offset", base.DEC, nil, 0x3f, "4-octet units from the end of the IV"),
  crypt_offset_octets = ProtoField.uint8("psp_sec.crypt_offset.octets", "Crypt Offset (octets)", base.DEC),
  sample = ProtoField.bool("psp_sec.sample", "S, sample at the receiver", 8, set_or_not, 0x80),
  drop = ProtoField.bool("psp_sec.drop", "D, drop after sampling", 8, set_or_not, 0x40),
  version = ProtoField.uint8("psp_sec.version", "Version", base.DEC, versions, 0x3c),
  vc_present = ProtoField.bool("psp_sec.vc_present", "V, virtualization cookie present", 8, set_or_not, 0x02),
  always_1 = ProtoField.uint8("psp_sec.always_1", "Always 1", base.DEC, nil, 0x01),
  spi = ProtoField.uint32("psp_sec.spi", "SPI", base.HEX),
  master_key = ProtoField.uint8("psp_sec.spi.master_key", "Master key slot", base.DEC, nil, nil, "The top bit of the SPI"),
  iv = ProtoField.uint64("psp_sec.iv", "IV", base.HEX),
  vc = ProtoField.bytes("psp_sec.vc", "Virtualization cookie"),
  vc_encrypted = ProtoField.bool("psp_sec.vc.encrypted", "Cookie encrypted", base.NONE, yes_no, nil, "At least in part"),
  extension = ProtoField.bytes("psp_sec.extension", "Extension"),
  clear = ProtoField.bytes("psp_sec.clear", "Payload in clear"),
  clear_length = ProtoField.uint16("psp_sec.clear.length", "Payload in clear (octets)", base.DEC),
  encrypted = ProtoField.bytes("psp_sec.encrypted", "Encrypted"),
  encrypted_length = ProtoField.uint16("psp_sec.encrypted.length", "Encrypted (octets)", base.DEC),
  undecoded = ProtoField.bytes("psp_sec.undecoded", "Not decoded"),
  icv = ProtoField.bytes("psp_sec.icv", "ICV"),
}
psp.fields = f

local group, severity = expert.group, expert.severity
local function fault(name, text, of, how) return ProtoExpert.new("psp_sec." .. name, text, of, how) end
local e = {
  truncated = fault("truncated", "Truncated: too short for the header and the ICV", group.MALFORMED, severity.ERROR),
  header_short = fault("hdr_ext_len.short", "Hdr Ext Len is too small for the IV or the cookie", group.MALFORMED, severity.ERROR),
  version = fault("version.reserved", "The version is reserved: receivers discard the packet", group.PROTOCOL, severity.ERROR),
  always_1 = fault("always_1.clear", "The lowest bit of octet 3 is zero: receivers discard the packet", group.MALFORMED, severity.ERROR),
  spi = fault("spi.zero", "The low 31 bits of the SPI are zero", group.PROTOCOL, severity.ERROR),
  past_payload = fault("crypt_offset.past_payload", "The crypt offset is past the payload", group.MALFORMED, severity.ERROR),
  offset_unused = fault("crypt_offset.unused", "This version has no crypt offset: zero on send, ignored on receipt", group.PROTOCOL, severity.NOTE),
  reserved = fault("reserved.set", "R is not zero; receivers ignore it", group.PROTOCOL, severity.NOTE),
  not_encrypted = fault("not_encrypted", "Not encrypted: this version authenticates only", group.SECURITY, severity.WARN),
  clear = fault("clear.left", "A part of the payload is not encrypted", group.SECURITY, severity.NOTE),
  cut = fault("cut", "The capture contains only a part of the packet", group.UNDECODED, severity.NOTE),
  nested = fault("nested", "PSP in PSP, nested too deeply: not dissected", group.UNDECODED, severity.WARN),
}
psp.experts = e

-- The octets from..to of the packet, as far as they were captured; nil: none of them.
local function captured(tvb, from, to)
  local last = math.min(to, tvb:captured_len())
  if last > from then return tvb(from, last - from) end
end

-- Octets without a structure.
local function add_octets(tree, field, tvb, from, to)
  local range = captured(tvb, from, to)
  if not range then return nil end
  local item = tree:add(field, range)
  if range:len() < to - from then item:append_text(string.format(" (the first %d of %d octets)", range:len(), to - from)) end
  return item
end

-- The first 16 octets, as far as they were captured. Returns the fields that later parts depend on.
local function add_fixed(tree, tvb)
  local have = tvb:captured_len()
  local h = {}
  if have < 1 then return h end
  tree:add(f.next_header, tvb(0, 1))
  h.next_header = tvb(0, 1):uint()
  if have < 2 then return h end
  h.length = 8 + 8 * tvb(1, 1):uint()
  tree:add(f.hdr_ext_len, tvb(1, 1)):append_text(string.format(" (a header of %d octets)", h.length))
  tree:add(f.header_length, tvb(1, 1), h.length):set_generated()
  if have < 3 then return h end
  local reserved = tree:add(f.reserved, tvb(2, 1))
  if tvb(2, 1):bitfield(0, 2) ~= 0 then reserved:add_proto_expert_info(e.reserved) end
  h.offset = 4 * tvb(2, 1):bitfield(2, 6)
  h.offset_item = tree:add(f.crypt_offset, tvb(2, 1))
  h.offset_item:append_text(string.format(" (%d octets)", h.offset))
  tree:add(f.crypt_offset_octets, tvb(2, 1), h.offset):set_generated()
  if have < 4 then return h end
  tree:add(f.sample, tvb(3, 1))
  tree:add(f.drop, tvb(3, 1))
  h.version = tvb(3, 1):bitfield(2, 4)
  local version = tree:add(f.version, tvb(3, 1))
  if not versions[h.version] then version:add_proto_expert_info(e.version)
  elseif not encrypts(h.version) then
    version:add_proto_expert_info(e.not_encrypted)
    if h.offset > 0 then h.offset_item:add_proto_expert_info(e.offset_unused) end
  end
  h.cookie = tvb(3, 1):bitfield(6, 1) * COOKIE
  tree:add(f.vc_present, tvb(3, 1))
  local always_1 = tree:add(f.always_1, tvb(3, 1))
  if tvb(3, 1):bitfield(7, 1) == 0 then always_1:add_proto_expert_info(e.always_1) end
  if have < 8 then return h end
  h.spi = tvb(4, 4):uint()
  local spi = tree:add(f.spi, tvb(4, 4))
  if tvb(4, 4):bitfield(1, 31) == 0 then spi:add_proto_expert_info(e.spi) end
  tree:add(f.master_key, tvb(4, 1), tvb(4, 1):bitfield(0, 1)):set_generated()
  if have < FIXED then return h end
  tree:add(f.iv, tvb(8, 8))
  return h
end

-- A suffix for the octets from..to, which are encrypted from `clear` on.
local function encrypted_text(from, to, clear)
  if clear <= from then return " (encrypted)" end
  if clear < to then return string.format(" (encrypted from octet %d on)", clear - from) end
  return ""
end

-- Cookie and extension.
local function add_words(tree, tvb, h, clear)
  local cookie_end = FIXED + h.cookie
  if h.cookie > 0 then
    local cookie = add_octets(tree, f.vc, tvb, FIXED, cookie_end)
    if cookie then
      cookie:append_text(encrypted_text(FIXED, cookie_end, clear))
      tree:add(f.vc_encrypted, tvb(FIXED, 1), clear < cookie_end):set_generated()
    end
  end
  local extension = add_octets(tree, f.extension, tvb, cookie_end, h.length)
  if extension then extension:append_text(encrypted_text(cookie_end, h.length, clear)) end
end

local depth = 0

-- Passes on a payload that is entirely plaintext and captured. Nothing is added to this packet afterwards.
local function dissect_payload(tvb, pinfo, root, tree, h, stop)
  local name = dissectors[h.next_header]
  if not name or stop <= h.length or stop > tvb:captured_len() then return end
  if depth >= MAX_DEPTH then
    tree:add_proto_expert_info(e.nested)
    return
  end
  depth = depth + 1
  -- What it finds malformed it has shown in the tree; it tells us as an error besides.
  pcall(Dissector.call, Dissector.get(name), tvb(h.length, stop - h.length):tvb(), pinfo, root)
  depth = depth - 1
end

function psp.dissector(tvb, pinfo, root)
  -- A source port is chosen by the flow's hash and may be ours by chance.
  if pinfo.src_port == psp.prefs.port and pinfo.dst_port ~= psp.prefs.port then return 0 end
  local total = tvb:reported_len()
  pinfo.cols.protocol = "PSP"
  pinfo.cols.info = ""
  local tree = root:add(psp, tvb())
  if tvb:captured_len() < total then
    tree:add_proto_expert_info(e.cut, string.format("The capture contains %d of %d octets", tvb:captured_len(), total))
  end
  local h = add_fixed(tree, tvb)
  if h.spi then
    local text = string.format("SPI 0x%08x, %s", h.spi, versions[h.version] or "version " .. h.version)
    tree:append_text(", " .. text)
    pinfo.cols.info = text .. ", " .. (next_headers[h.next_header] or "next header " .. h.next_header)
  end

  local stop = total - ICV -- the payload's
  if stop < math.max(FIXED, h.length or 0) then
    tree:add_proto_expert_info(e.truncated)
    return tvb:captured_len()
  end
  if not h.spi then return tvb:captured_len() end
  if h.length < FIXED + h.cookie then
    tree:add_proto_expert_info(e.header_short)
    return tvb:captured_len()
  end
  if not versions[h.version] then
    add_octets(tree, f.undecoded, tvb, FIXED, total)
    return tvb:captured_len()
  end

  local clear = encrypts(h.version) and FIXED + h.offset or stop -- the first octet that is encrypted
  if clear > stop then
    h.offset_item:add_proto_expert_info(e.past_payload)
    add_octets(tree, f.undecoded, tvb, FIXED, total)
    return tvb:captured_len()
  end
  add_words(tree, tvb, h, clear)
  local clear_length = math.max(0, clear - h.length)
  local left = add_octets(tree, f.clear, tvb, h.length, clear)
  if left and encrypts(h.version) then left:add_proto_expert_info(e.clear) end
  add_octets(tree, f.encrypted, tvb, clear, stop)
  tree:add(f.clear_length, clear_length):set_generated()
  tree:add(f.encrypted_length, stop - clear):set_generated()
  if total <= tvb:captured_len() then tree:add(f.icv, tvb(stop, ICV)) end
  if clear == stop then dissect_payload(tvb, pinfo, root, tree, h, stop) end
  return total
end

local ports = DissectorTable.get("udp.port")
local port = 0
local function listen()
  if psp.prefs.port == port then return end
  if port ~= 0 then ports:remove(port, psp) end
  port = psp.prefs.port
  if port ~= 0 then ports:add(port, psp) end
end
psp.prefs_changed = listen
listen()
