package inflate

import "math/bits"

// An entry of a table describes what the decoder does when it finds a code:
//
//	bits 0-7    number of bits to consume: the code and its extra bits
//	bits 8-12   number of these bits that belong to the code
//	bits 13-15  flags
//	bits 16-30  the literal, the shortest length or the shortest distance
//
// If entrySub is set, the code is longer than the index of the main table. Bits 16 to 30 are
// then the start of a subtable, and bits 8 to 12 are the number of bits of its index.
type entry = uint32

const (
	entryLiteral = 1 << 15 // the value is a byte of the output
	entryOther   = 1 << 14 // a subtable, the end of the block, or an invalid code
	entrySub     = 1 << 13 // together with entryOther: a subtable
	entryEnd     = entryOther | 1<<valueShift
	entryInvalid = entryOther

	codeShift  = 8
	codeMask   = 31
	bitsMask   = 255
	shiftMask  = 63 // gives the same number as bitsMask; the compiler then knows that a shift is below 64
	valueShift = 16

	maxCode    = 15 // bits of the longest code
	litlenBits = 11 // bits of the index of the main table
	distBits   = 8
	lengthBits = 7 // the codes of code lengths have at most 7 bits, so there is no subtable

	// A main table has at most one subtable for two long codes, because a complete set of codes
	// has at least two with the same prefix.
	litlenSize = 1<<litlenBits + maxLitlen/2<<(maxCode-litlenBits)
	distSize   = 1<<distBits + maxDist/2<<(maxCode-distBits)
)

// Numbers of symbols, see RFC 1951, 3.2.5 and 3.2.7.
const (
	maxLitlen  = 288 // 286 and 287 have fixed codes, but are invalid
	maxDist    = 32  // 30 and 31 have fixed codes, but are invalid
	numLitlen  = 286
	numDist    = 30
	numLengths = 19
	endOfBlock = 256
)

// The entries of all symbols, without the bits of their codes.
var litlenSymbols, distSymbols, lengthSymbols = symbols()

func symbols() (litlen [maxLitlen]entry, dist [maxDist]entry, lengths [numLengths]entry) {
	for n := range litlen {
		switch {
		case n < endOfBlock:
			litlen[n] = entry(n)<<valueShift | entryLiteral
		case n == endOfBlock:
			litlen[n] = entryEnd
		default:
			litlen[n] = entryInvalid
		}
	}
	// Groups of four symbols have one extra bit more than the group before.
	length := entry(3)
	for n := 257; n < 285; n++ {
		extra := entry(max(0, (n-261)/4))
		litlen[n] = length<<valueShift | extra
		length += 1 << extra
	}
	litlen[285] = 258 << valueShift
	distance := entry(1)
	for n := range dist {
		dist[n] = entryInvalid
		if n < numDist {
			extra := entry(max(0, n/2-1))
			dist[n] = distance<<valueShift | extra
			distance += 1 << extra
		}
	}
	for n := range lengths {
		lengths[n] = entry(n) << valueShift
	}
	return litlen, dist, lengths
}

// build fills a table for the codes with these lengths. indexBits is the number of bits of
// the index of the main table. build returns false if the codes are not complete. As an
// exception, a single code of one bit is allowed, and no code at all.
func build(table []entry, indexBits int, lengths []uint8, symbols []entry) bool {
	var count, next [maxCode + 1]int
	longest := 0
	for _, n := range lengths {
		count[n]++
		longest = max(longest, int(n))
	}
	count[0] = 0
	code := 0
	for n := 1; n <= longest; n++ {
		code = (code + count[n-1]) << 1
		next[n] = code
	}
	used := code + count[longest]
	complete := longest > 0 && used == 1<<longest
	if !complete {
		if longest > 1 || used > 1 {
			return false
		}
		for i := range table[:1<<indexBits] {
			table[i] = entryInvalid
		}
	}
	subBits := longest - indexBits
	free := 1 << indexBits // where the next subtable starts
	prefix, start := -1, 0 // the index that leads to the last subtable, and its start
	for n := indexBits + 1; n <= longest; n++ {
		for c := next[n]; c < next[n]+count[n]; c++ { // codes with the same prefix follow one another
			if p := c >> (n - indexBits); p != prefix {
				prefix, start = p, free
				free += 1 << subBits
				table[reverse(p, indexBits)] = entry(start)<<valueShift | entryOther | entrySub | entry(subBits)<<codeShift | entry(indexBits)
			}
		}
	}
	for symbol, length := range lengths {
		n := int(length)
		if n == 0 {
			continue
		}
		c := reverse(next[n], n)
		next[n]++
		part, width := table[:1<<indexBits], n
		if n > indexBits {
			e := table[c&(1<<indexBits-1)]
			part = table[e>>valueShift:][:1<<subBits]
			c, width = c>>indexBits, n-indexBits
		}
		e := symbols[symbol] + entry(width)<<codeShift + entry(width)
		for ; c < len(part); c += 1 << width {
			part[c] = e
		}
	}
	return true
}

// reverse returns the n lowest bits of code in the opposite order.
func reverse(code, n int) int { return int(bits.Reverse16(uint16(code)) >> (16 - n)) }
