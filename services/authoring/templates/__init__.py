"""Journey templates: five journeys ready to copy, each a bundle in a file of this folder.

Law: a template is read like anybody's bundle and made by the same use cases as an author's own objects; what comes of
it is a draft that can be published as it is. The files say nothing that a bundle could not.
Source: contract 3, "Templates".
"""
