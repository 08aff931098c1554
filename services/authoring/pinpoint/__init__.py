"""Amazon Pinpoint, translated into a bundle of ours.

Law: pure: the same export and options give the same bytes; no store, no network, no clock but the `now` of the
options. Whatever the export, nothing here raises but a refusal of the whole, nothing recurses over a graph, one bad
journey never fails the others, and no value of the source is lost: it is in the bundle's objects, their `extensions`,
or in `unsupported`.
Source: the migration design (pinpoint.md); AWS API model `pinpoint/2016-12-01`.
"""
