package normalize

// plainCodes says, for each country code, with which digits (as bits) a
// national number may begin so that it is sure to be what stands behind the
// code in E.164: no national prefix, carrier code or local form begins with
// them. Codes that are absent need the parser.
var plainCodes = func() (table [1000]uint16) {
	const digits = 1<<10 - 1
	for _, group := range []struct {
		not   uint16 // digits with which a prefix begins
		codes []int
	}{
		{not: 0, codes: []int{
			30, 34, 39, 45, 47, 48, 52, 56, 65, 216, 220, 221, 222, 223, 224, 225, 226, 227, 228, 229, 230, 235,
			236, 237, 238, 239, 240, 242, 244, 245, 246, 247, 248, 253, 257, 258, 266, 267, 268, 269, 290, 297,
			299, 350, 351, 354, 356, 357, 371, 372, 376, 420, 500, 501, 502, 503, 504, 505, 507, 509, 592, 597,
			599, 670, 673, 674, 675, 676, 677, 678, 679, 680, 681, 682, 683, 685, 687, 688, 689, 690, 691, 800,
			808, 852, 853, 870, 878, 881, 882, 883, 888, 960, 965, 968, 973, 974, 975, 979, 992, 998,
		}},
		{not: 1 << 0, codes: []int{
			20, 27, 31, 32, 33, 36, 40, 41, 43, 46, 49, 51, 53, 57, 58, 60, 62, 63, 64, 66, 81, 82, 84, 90, 91, 92,
			93, 94, 95, 98, 211, 212, 213, 218, 231, 232, 233, 234, 241, 243, 249, 250, 251, 252, 254, 255, 256,
			260, 262, 263, 264, 265, 291, 353, 355, 358, 359, 373, 374, 377, 380, 381, 382, 383, 385, 386, 387,
			389, 421, 508, 590, 591, 593, 594, 595, 596, 598, 686, 850, 855, 856, 880, 886, 961, 962, 963, 964,
			966, 967, 970, 971, 972, 976, 977, 994, 995, 996,
		}},
		{not: 1<<0 | 1<<1, codes: []int{44, 61, 86, 423}},
		{not: 1<<0 | 1<<8, codes: []int{370, 375}},
		{not: 1<<0 | 1<<9, codes: []int{55}},
		{not: 1 << 1, codes: []int{1, 298, 352, 506, 692}},
		{not: 1 << 8, codes: []int{7, 993}},
	} {
		for _, code := range group.codes {
			table[code] = digits &^ group.not
		}
	}
	return table
}()
